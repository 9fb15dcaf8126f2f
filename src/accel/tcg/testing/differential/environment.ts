/**
 * The guest that cases run in on Vireo's side: a ring 0 that is nothing but
 * page tables, descriptors like Linux's, handlers that halt, and a stub that
 * enters user mode.
 */
import type { GuestMemory } from '../../../../contract/index.ts';
import { codeBase, codeSize, dataPages, ldt, pageSize, selectors } from './record.ts';

/** Linear address of the supervisor pages (above all that cases use) and where they lie in RAM. */
export const kernel = 0x7000_0000_0000;
const kernelPhysical = 0x10000;
const kernelPages = 16;
/** Offsets within the supervisor pages. */
export const layout = {
  gdt: 0,
  ldt: 0x400,
  tss: 0x800,
  idt: 0x1000,
  handlers: 0x2000,
  stub: 0x3000,
  selectors: 0x3800,
  stackTop: 0x6000,
  frame: 0x7000,
} as const;
/** Guest physical addresses of what the cases see. */
export const codePhysical = 0x30000;
export const dataPhysical = 0x40000;
export const ramSize = 0x100000;

const tables = {
  pml4: 0x1000,
  low: 0x2000,
  lowDirectory: 0x3000,
  dataTable: 0x4000,
  codeTable: 0x5000,
  high: 0x6000,
  highDirectory: 0x7000,
  kernelTable: 0x8000,
} as const;
export const cr3: number = tables.pml4;
/** Bytes between handlers; each is HLT. */
export const handlerSize = 16;
export const gdtLimit = 0x7f;
export const kernelSelectors = { code: 0x10, data: 0x18, tss: 0x40, ldt: 0x50 } as const;

const entry = { present: 1n, writable: 2n, user: 4n, noExecute: 1n << 63n } as const;

/** A view of the supervisor pages. */
export function kernelView(memory: GuestMemory): DataView {
  const bytes = memory.view(kernelPhysical, kernelPages * pageSize);
  if (!bytes) throw new Error('no RAM for the supervisor pages');
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Fills RAM with everything but the cases themselves. */
export function buildEnvironment(memory: GuestMemory): void {
  buildPageTables(memory);
  const view = kernelView(memory);
  buildDescriptors(view);
  buildHandlers(view);
  buildStub(view);
}

function buildPageTables(memory: GuestMemory): void {
  const ram = memory.view(0, ramSize);
  if (!ram) throw new Error('no RAM for the page tables');
  const view = new DataView(ram.buffer, ram.byteOffset, ram.length);
  const put = (table: number, index: number, value: bigint) => view.setBigUint64(table + 8 * index, value, true);
  const user = entry.present | entry.user;
  const link = (table: number, index: number, to: number) => put(table, index, BigInt(to) | user | entry.writable);
  link(tables.pml4, 0, tables.low);
  link(tables.low, 0, tables.lowDirectory);
  link(tables.lowDirectory, 0, tables.dataTable);
  link(tables.lowDirectory, codeBase >>> 21, tables.codeTable);
  link(tables.pml4, Math.floor(kernel / 2 ** 39), tables.high);
  link(tables.high, 0, tables.highDirectory);
  link(tables.highDirectory, 0, tables.kernelTable);
  dataPages.forEach(({ address, writable }, i) => {
    put(
      tables.dataTable,
      address / pageSize,
      BigInt(dataPhysical + i * pageSize) | user | entry.noExecute | (writable ? entry.writable : 0n),
    );
  });
  for (let i = 0; i < codeSize / pageSize; i++) put(tables.codeTable, i, BigInt(codePhysical + i * pageSize) | user);
  for (let i = 0; i < kernelPages; i++)
    put(tables.kernelTable, i, BigInt(kernelPhysical + i * pageSize) | entry.present | entry.writable);
}

/** A segment descriptor (SDM vol. 3, 3.4.5). */
function descriptor(base: number, limit: number, access: number, flags: number): bigint {
  const [b, l] = [BigInt(base), BigInt(limit)];
  return (
    (l & 0xffffn) |
    ((b & 0xff_ffffn) << 16n) |
    (BigInt(access) << 40n) |
    ((l >> 16n) << 48n) |
    (BigInt(flags) << 52n) |
    ((b >> 24n) << 56n)
  );
}

function buildDescriptors(view: DataView): void {
  const gdt: Record<number, bigint> = {
    8: descriptor(0, 0xfffff, 0x9b, 0xc),
    [kernelSelectors.code]: descriptor(0, 0xfffff, 0x9b, 0xa),
    [kernelSelectors.data]: descriptor(0, 0xfffff, 0x93, 0xc),
    [selectors.code32 & ~7]: descriptor(0, 0xfffff, 0xfb, 0xc),
    [selectors.data & ~7]: descriptor(0, 0xfffff, 0xf3, 0xc),
    [selectors.code64 & ~7]: descriptor(0, 0xfffff, 0xfb, 0xa),
    120: descriptor(0, 0, 0xf5, 0x4), // its limit is the number of the CPU
  };
  for (const [selector, value] of Object.entries(gdt)) view.setBigUint64(layout.gdt + Number(selector), value, true);
  putSystemDescriptor(view, kernelSelectors.tss, layout.tss, 0x67, 0x8b);
  putSystemDescriptor(view, kernelSelectors.ldt, layout.ldt, 8 * ldt.length - 1, 0x82);
  ldt.forEach((d, i) => {
    view.setBigUint64(layout.ldt + 8 * i, descriptor(d.base, d.limit, d.access, d.flags), true);
  });
  view.setBigUint64(layout.tss + 4, BigInt(kernel + layout.stackTop), true);
  view.setUint16(layout.tss + 0x66, 0x68, true);
}

/** LDT and TSS descriptors are 16 bytes in long mode; bases have more than 32 bits. */
function putSystemDescriptor(view: DataView, selector: number, offset: number, limit: number, access: number): void {
  const base = kernel + offset;
  view.setBigUint64(layout.gdt + selector, descriptor(base % 2 ** 32, limit, access, 0), true);
  view.setBigUint64(layout.gdt + selector + 8, BigInt(Math.floor(base / 2 ** 32)), true);
}

function buildHandlers(view: DataView): void {
  for (let vector = 0; vector < 256; vector++) {
    const target = BigInt(kernel + layout.handlers + vector * handlerSize);
    const gate = layout.idt + 16 * vector;
    const openToUser = vector === 3 || vector === 4;
    view.setUint16(gate, Number(target & 0xffffn), true);
    view.setUint16(gate + 2, kernelSelectors.code, true);
    view.setUint16(gate + 4, openToUser ? 0xee00 : 0x8e00, true);
    view.setUint16(gate + 6, Number((target >> 16n) & 0xffffn), true);
    view.setUint32(gate + 8, Number(target >> 32n), true);
    view.setUint8(layout.handlers + vector * handlerSize, 0xf4);
  }
}

/** Offset of the stub's part behind the loads of FS and GS. */
export const stubWithoutFsGs: number = layout.stub + 12;

/** MOV FS, GS, DS, ES from memory by RIP-relative addresses, IRETQ: enters a case without touching a general register. */
function buildStub(view: DataView): void {
  [0x25, 0x2d, 0x1d, 0x05].forEach((modrm, i) => {
    const start = layout.stub + 6 * i;
    view.setUint8(start, 0x8e);
    view.setUint8(start + 1, modrm);
    view.setInt32(start + 2, layout.selectors + 2 * i - (start + 6), true);
  });
  view.setUint16(layout.stub + 24, 0xcf48, true);
}

/** Sets what the stub loads: the selectors and the IRETQ frame. */
export function setFrame(
  view: DataView,
  state: DataView,
  at: { rip: number; rflags: number; segments: number; rsp: number },
): void {
  [4, 5, 2, 3].forEach((segment, i) => {
    view.setUint16(layout.selectors + 2 * i, state.getUint16(at.segments + 2 * segment, true), true);
  });
  view.setBigUint64(layout.frame, state.getBigUint64(at.rip, true), true);
  view.setBigUint64(layout.frame + 8, BigInt(state.getUint16(at.segments, true)), true);
  view.setBigUint64(layout.frame + 16, state.getBigUint64(at.rflags, true), true);
  view.setBigUint64(layout.frame + 24, state.getBigUint64(at.rsp, true), true);
  view.setBigUint64(layout.frame + 32, BigInt(state.getUint16(at.segments + 2, true)), true);
}

/** A CPU's system side over a small flat memory, for tests: linear accesses go through the real page walker. */
import type { AccessSize, LocalApic } from '../../../../contract/index.ts';
import type { HelperName } from '../../helpers.ts';
import * as st from '../../state.ts';
import { isCanonical } from '../context.ts';
import { X86State } from '../cpu.ts';
import { CpuFault, raise } from '../fault.ts';
import { resolveModel } from '../models.ts';
import { pageAccess } from '../paging.ts';
import { type Rights, rights, type SystemPorts } from '../ports.ts';
import { createSystem, type System } from '../system.ts';

export const memorySize = 4 << 20;

/** A local APIC that remembers what it was told. */
export class FakeApic implements LocalApic {
  base = { low: 0xfee0_0900, high: 0 };
  tpr = 0;
  deadline = { low: 0, high: 0 };
  x2apic = new Map<number, { low: number; high: number }>();
  resets = 0;
  pendingVector = (): number => -1;
  acknowledge = (): number => -1;
  readBase = () => this.base;
  writeBase(low: number, high: number): boolean {
    if (low & 0xff) return false;
    this.base = { low, high };
    return true;
  }
  readTpr = (): number => this.tpr;
  writeTpr(priorityClass: number): void {
    this.tpr = priorityClass;
  }
  readX2apic = (index: number) => this.x2apic.get(index);
  writeX2apic(index: number, low: number, high: number): boolean {
    if (!this.x2apic.has(index)) return false;
    this.x2apic.set(index, { low, high });
    return true;
  }
  readTscDeadline = () => this.deadline;
  writeTscDeadline(low: number, high: number): void {
    this.deadline = { low, high };
  }
  reset(): void {
    this.resets++;
  }
}

export class Machine implements SystemPorts {
  readonly ram = new Uint8Array(memorySize);
  readonly view = new DataView(this.ram.buffer);
  readonly apic = new FakeApic();
  tscHertz = 1e9;
  readonly cpu = new X86State(new SharedArrayBuffer((st.stateSize + 31) & ~15), 16);
  readonly system: System;
  tsc = 0;
  flushes: (string | boolean)[] = [];
  modeChanges = 0;
  portLog: string[] = [];

  constructor(model = 'max') {
    this.system = createSystem(this.cpu, this, resolveModel(model));
    this.system.reset();
  }

  private translate(low: number, high: number, by: Rights, write: boolean): number {
    if (!isCanonical(this.cpu, high)) raise(st.vector.GP);
    const access =
      (write ? pageAccess.write : 0) |
      (by === rights.user ? pageAccess.user : by === rights.implicit ? pageAccess.implicit : 0);
    const { walker } = this.system;
    if (!walker.walk(low, high, access)) {
      this.cpu.setPair(st.faultAddress, low, high);
      raise(st.vector.PF, walker.error);
    }
    return walker.page + (low & 0xfff);
  }

  private each(
    low: number,
    high: number,
    by: Rights,
    write: boolean,
    count: number,
    act: (at: number, i: number) => void,
  ): void {
    const at = (i: number) => {
      const sum = (low >>> 0) + i;
      return this.translate(sum | 0, sum > 0xffff_ffff ? high + 1 : high, by, write);
    };
    if (write && count > 0) at(count - 1);
    for (let i = 0; i < count; i++) act(at(i), i);
  }

  private get(low: number, high: number, by: Rights, size: number): number {
    let value = 0;
    this.each(low, high, by, false, size, (at, i) => {
      value |= (this.ram[at] ?? 0xff) << (8 * i);
    });
    return value;
  }

  private put(low: number, high: number, by: Rights, size: number, value: number): void {
    this.each(low, high, by, true, size, (at, i) => {
      this.ram[at] = value >>> (8 * i);
    });
  }

  read8 = (low: number, high: number, by: Rights) => this.get(low, high, by, 1);
  read16 = (low: number, high: number, by: Rights) => this.get(low, high, by, 2);
  read32 = (low: number, high: number, by: Rights) => this.get(low, high, by, 4);
  write8 = (low: number, high: number, by: Rights, value: number) => this.put(low, high, by, 1, value);
  write16 = (low: number, high: number, by: Rights, value: number) => this.put(low, high, by, 2, value);
  write32 = (low: number, high: number, by: Rights, value: number) => this.put(low, high, by, 4, value);
  readBytes(low: number, high: number, by: Rights, bytes: Uint8Array, length: number): void {
    this.each(low, high, by, false, length, (at, i) => {
      bytes[i] = this.ram[at];
    });
  }
  writeBytes(low: number, high: number, by: Rights, bytes: Uint8Array, length: number): void {
    this.each(low, high, by, true, length, (at, i) => {
      this.ram[at] = bytes[i];
    });
  }
  probeWrite(low: number, high: number, by: Rights, length: number): void {
    this.each(low, high, by, true, length, () => {});
  }
  readPhysical32 = (address: number) => (address + 4 <= memorySize ? this.view.getInt32(address, true) : -1);
  setPhysicalBits(address: number, bits: number): void {
    this.view.setInt32(address, this.view.getInt32(address, true) | bits, true);
  }
  flushTlb(keepGlobal: boolean): void {
    this.flushes.push(keepGlobal);
  }
  flushContext(pcid: number): void {
    this.flushes.push(`pcid ${pcid}`);
  }
  enterContext(pcid: number, keep: boolean): void {
    this.flushes.push(`enter ${pcid}${keep ? ' keeping' : ''}`);
  }
  flushPage(low: number, high: number): void {
    this.flushes.push(`${(high >>> 0).toString(16)}:${(low >>> 0).toString(16)}`);
  }
  modeChanged(): void {
    this.modeChanges++;
  }
  portIn(port: number, size: AccessSize): number {
    this.portLog.push(`in ${port.toString(16)} ${size}`);
    return 0x12345678 & (size === 4 ? -1 : (1 << (8 * size)) - 1);
  }
  portOut(port: number, size: AccessSize, value: number): void {
    this.portLog.push(`out ${port.toString(16)} ${size} ${value.toString(16)}`);
  }
  readTsc = () => this.tsc;
  setTscHertz(hertz: number): void {
    this.tscHertz = hertz;
  }
  random = () => 0x5a5a5a5a;

  /** Runs a helper with arguments; returns its result, or the fault as `#vector(error)`. */
  run(name: HelperName, ...args: (number | bigint)[]): number | string {
    args.forEach((value, i) => {
      this.cpu.setBig(st.arg[i], BigInt(value));
    });
    try {
      return this.system.helpers[name]();
    } catch (e) {
      if (e instanceof CpuFault) return `#${e.vector}(${e.error})`;
      throw e;
    }
  }

  /** An i64 state field. */
  big(f: (typeof st.gpr)[number]): bigint {
    return this.cpu.getBig(f);
  }

  u64(address: number): bigint {
    return this.view.getBigUint64(address, true);
  }

  u32(address: number): number {
    return this.view.getUint32(address, true);
  }

  u16(address: number): number {
    return this.view.getUint16(address, true);
  }

  setU64(address: number, value: bigint | number): void {
    this.view.setBigUint64(address, BigInt.asUintN(64, BigInt(value)), true);
  }

  /** Where the CPU would be, as an offset within CS. */
  setIp(current: bigint | number, next: bigint | number): void {
    this.cpu.setBig(st.currentIp, BigInt(current));
    this.cpu.setBig(st.nextIp, BigInt(next));
  }
}

/** Physical places that the set-ups below use. */
export const at = { gdt: 0x1000, idt: 0x2000, tss: 0x3000, stack: 0x8000, userStack: 0xa000, pml4: 0x1_0000 } as const;

/** Selectors of the test GDT. */
export const sel = {
  code64: 0x08,
  data0: 0x10,
  user32: 0x18,
  userData: 0x20,
  user64: 0x28,
  tss: 0x30,
  code32: 0x40,
  callGate: 0x48,
  tss2: 0x58,
  conforming: 0x60,
  ldt: 0x68,
  taskGate: 0x70,
} as const;

export function descriptor(base: number, limit: number, access: number, flags: number): bigint {
  return (
    BigInt(limit & 0xffff) |
    (BigInt(base & 0xff_ffff) << 16n) |
    (BigInt(access) << 40n) |
    (BigInt((limit >>> 16) & 15) << 48n) |
    (BigInt(flags) << 52n) |
    (BigInt(base >>> 24) << 56n)
  );
}

/** An IDT gate: 32- or 64-bit by `wide`. */
export function gate(
  m: Machine,
  v: number,
  selector: number,
  offset: bigint,
  type: number,
  dpl: number,
  wide: boolean,
  ist = 0,
): void {
  const low =
    (offset & 0xffffn) |
    (BigInt(selector) << 16n) |
    (BigInt(ist) << 32n) |
    (BigInt(0x80 | (dpl << 5) | type) << 40n) |
    (((offset >> 16n) & 0xffffn) << 48n);
  m.setU64(at.idt + v * (wide ? 16 : 8), low);
  if (wide) m.setU64(at.idt + v * 16 + 8, offset >> 32n);
}

function commonTables(m: Machine, wide: boolean): void {
  const table: [number, bigint][] = [
    [sel.code64, descriptor(0, 0xfffff, 0x9b, 0xa)],
    [sel.data0, descriptor(0, 0xfffff, 0x93, 0xc)],
    [sel.user32, descriptor(0, 0xfffff, 0xfb, 0xc)],
    [sel.userData, descriptor(0, 0xfffff, 0xf3, 0xc)],
    [sel.user64, descriptor(0, 0xfffff, 0xfb, 0xa)],
    [sel.tss, descriptor(at.tss, 0x67, 0x89, 0)],
    [sel.code32, descriptor(0, 0xfffff, 0x9b, 0xc)],
    [sel.conforming, descriptor(0, 0xfffff, 0x9f, wide ? 0xa : 0xc)],
    [sel.ldt, descriptor(0x6000, 0xff, 0x82, 0)],
  ];
  for (const [selector, value] of table) m.setU64(at.gdt + selector, value);
  m.run('lgdt', 0xff, at.gdt);
  m.run('lidt', 0xfff, at.idt);
}

/** Long mode at CPL 0: the first 4 MiB mapped one to one, user-accessible, by 2-MiB pages. */
export function longMode(model = 'max'): Machine {
  const m = new Machine(model);
  m.setU64(at.pml4, BigInt(at.pml4 + 0x1000) | 7n);
  m.setU64(at.pml4 + 0x1000, BigInt(at.pml4 + 0x2000) | 7n);
  m.setU64(at.pml4 + 0x2000, 0x87n);
  m.setU64(at.pml4 + 0x2008, 0x20_0087n);
  m.system.setEntry({
    mode: 'long64',
    rip: 0x5000,
    registers: { rsp: at.stack },
    cr3: at.pml4,
    selectors: { code: sel.code64, data: sel.data0 },
  });
  commonTables(m, true);
  m.setU64(at.tss + 4, at.stack);
  m.setU64(at.tss + 36, at.stack + 0x1000);
  m.run('ltr', sel.tss);
  m.setIp(0x5000, 0x5002);
  m.flushes = [];
  return m;
}

/** 32-bit protected mode at CPL 0, paging off. */
export function protectedMode(model = 'max'): Machine {
  const m = new Machine(model);
  m.system.setEntry({
    mode: 'protected32',
    rip: 0x5000,
    registers: { rsp: at.stack },
    selectors: { code: sel.code32, data: sel.data0 },
  });
  commonTables(m, false);
  m.view.setUint32(at.tss + 4, at.stack, true);
  m.view.setUint16(at.tss + 8, sel.data0, true);
  m.run('ltr', sel.tss);
  m.setIp(0x5000, 0x5002);
  return m;
}

/** Puts the CPU at CPL 3 with that stack pointer, by IRET. */
export function toUser(m: Machine, code: number = sel.user64, rsp: number = at.userStack): void {
  const size = m.cpu.get(st.efer) & 0x400 ? 8 : 4;
  const frame = [0x6000, code | 3, 0x202, rsp, sel.userData | 3];
  frame.forEach((value, i) => {
    if (size === 8) m.setU64(0x7000 + 8 * i, value);
    else m.view.setUint32(0x7000 + 4 * i, value, true);
  });
  m.cpu.setLow(st.gpr[4], 0x7000);
  const result = m.run('iret', size);
  if (result !== 1) throw new Error(`IRET to user: ${result}`);
  m.setIp(0x6000, 0x6002);
}

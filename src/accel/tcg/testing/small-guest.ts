/**
 * A 64-bit ring 0 for code of a few instructions: the first 2 MiB are mapped 1:1 in 4-KiB pages, and every exception and
 * interrupt leads to a HLT of its own.
 */
import type { RunExit, Vcpu, VcpuEnvironment } from '../../../contract/index.ts';
import { state, X86State } from '../../../target/index.ts';
import { createTcg, type TcgAccelerator, type Tier } from '../index.ts';
import { stateBase } from '../layout.ts';
import { plainBus, plainEnvironment } from './environment.ts';

export const tiers: readonly Tier[] = ['interpreter', 'translator', 'auto'];
export const pageTable = 0x4000;
/** Physical RAM beyond what is mapped. */
export const unmapped = 0x20_0000;
export const ramSize = 0x40_0000;
const pml4 = 0x1000;
const gdt = 0x5000;
const idt = 0x6000;
const handlers = 0x7000;
const stackTop = 0xa000;
const tss = 0xb000;
const userBit = 4;
const handlerSize = 16;
const vectors = 64;
const present = 3n; // and writable

/** Each look at the guest's clock takes this long, so that slices do not depend on the host. */
export const lookNanos = 1000;

/** Bytes of hexadecimal text. */
export const hex = (text: string): number[] =>
  text
    .split(/\s+/)
    .filter(Boolean)
    .map((b) => Number.parseInt(b, 16));
export const dword = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];

export class SmallGuest {
  readonly cpu: X86State;
  readonly vcpu: Vcpu;
  readonly ram: Uint8Array;
  readonly view: DataView;
  /** The vector that the local APIC offers, or -1. */
  pendingVector = -1;
  onPortWrite: (port: number) => void = () => {};
  private hasUser = false;
  private readonly tcg: TcgAccelerator;

  constructor(tcg: TcgAccelerator, place: Pick<VcpuEnvironment, 'index' | 'count'> = {}) {
    this.tcg = tcg;
    this.cpu = new X86State(tcg.memory.buffer, stateBase);
    this.ram = tcg.memory.view(0, ramSize) as Uint8Array;
    this.view = new DataView(this.ram.buffer, this.ram.byteOffset, this.ram.length);
    const plain = plainEnvironment(
      tcg.memory,
      plainBus((port) => this.onPortWrite(port)),
    );
    let now = 0;
    this.vcpu = tcg.createVcpu({
      ...plain,
      ...place,
      clock: {
        ...plain.clock,
        nowNanos: () => {
          now += lookNanos;
          return now;
        },
      },
      apic: {
        ...plain.apic,
        pendingVector: () => this.pendingVector,
        acknowledge: () => {
          const vector = this.pendingVector;
          this.pendingVector = -1;
          return vector;
        },
      },
    });
    this.build();
  }

  private build(): void {
    const entry = (table: number, index: number, value: number) =>
      this.view.setBigUint64(table + 8 * index, BigInt(value) | present, true);
    for (let level = 0; level < 3; level++) entry(pml4 + level * 0x1000, 0, pml4 + (level + 1) * 0x1000);
    for (let page = 1; page < 512; page++) entry(pageTable, page, page << 12);
    this.view.setBigUint64(gdt + 0x10, 0x00af_9b00_0000_ffffn, true);
    this.view.setBigUint64(gdt + 0x18, 0x00cf_9300_0000_ffffn, true);
    for (let vector = 0; vector < vectors; vector++) {
      const handler = handlers + vector * handlerSize;
      this.view.setUint32(idt + 16 * vector, 0x0010_0000 | handler, true);
      this.view.setUint16(idt + 16 * vector + 4, 0x8e00, true);
      this.ram[handler] = 0xf4;
    }
  }

  /** Lets CPL 3 use the 16 pages from each of these addresses, and gives it segments and ring 0 a stack for its faults. */
  allowUser(...addresses: readonly number[]): void {
    for (let table = pml4; table < pageTable; table += 0x1000) this.ram[table] |= userBit;
    for (const address of addresses)
      for (let i = 0; i < 16; i++) this.ram[pageTable + 8 * ((address >> 12) + i)] |= userBit;
    this.view.setBigUint64(gdt + 0x20, 0x00cf_f300_0000_ffffn, true);
    this.view.setBigUint64(gdt + 0x28, 0x00af_fb00_0000_ffffn, true);
    this.view.setBigUint64(tss + 4, BigInt(tss + 0x1000), true);
    this.hasUser = true;
  }

  /** A copy of the page tables at `at` (three pages and the last level's). */
  copyTables(at: number): void {
    this.ram.copyWithin(at, pml4, pageTable + 0x1000);
    for (let level = 0; level < 3; level++)
      this.view.setBigUint64(
        at + level * 0x1000,
        BigInt((at + (level + 1) * 0x1000) | (this.ram[pml4] & userBit)) | present,
        true,
      );
  }

  /** Places bytes in RAM, as a device would. */
  write(address: number, bytes: readonly number[]): void {
    this.ram.set(bytes, address);
    this.tcg.memory.written(address, bytes.length);
  }

  /** Gives a vector a handler in place of HLT. */
  handle(vector: number, code: readonly number[]): void {
    const at = 0x8000 + vector * 64;
    this.write(at, code);
    this.view.setUint16(idt + 16 * vector, at, true);
  }

  setEntry(rip: number, registers: Readonly<Record<string, number>> = {}): void {
    this.vcpu.setEntry({
      mode: 'long64',
      rip,
      registers: { rsp: stackTop, ...registers },
      cr3: pml4,
      gdt: { base: gdt, limit: this.hasUser ? 0x2f : 0x1f },
    });
    if (this.hasUser) {
      this.cpu.setBig(state.tr.base, BigInt(tss));
      this.cpu.set(state.tr.limit, 0x67);
      this.cpu.set(state.tr.rights, 0x8b);
    }
    this.cpu.setBig(state.idtr.base, BigInt(idt));
    this.cpu.set(state.idtr.limit, 16 * vectors - 1);
    // CR4.OSFXSR and OSXMMEXCPT, by an instruction, so that the engine learns of it.
    const enable = 0x9f00;
    this.write(enable, hex('0F 20 E0 66 0D 00 06 0F 22 E0 F4'));
    const { rax } = registers;
    this.cpu.setBig(state.linear, BigInt(enable));
    this.run();
    this.cpu.set(state.activity, state.activities.running);
    this.cpu.setBig(state.gpr[0], BigInt(rax ?? 0));
    this.cpu.setBig(state.linear, BigInt(rip));
  }

  /** Runs until there is something else than the end of a slice. */
  run(sliceNanos = 100 * lookNanos, slices = 1000): RunExit {
    for (let i = 0; i < slices; i++) {
      const exit = this.vcpu.run(sliceNanos);
      if (exit.kind !== 'slice') return exit;
    }
    throw new Error(`the code at ${this.cpu.getBig(state.linear).toString(16)} does not end`);
  }

  /** The vector of the handler that halted, or -1. */
  get halted(): number {
    const at = Number(this.cpu.getBig(state.linear)) - 1 - handlers;
    return at >= 0 && at % handlerSize === 0 && at < vectors * handlerSize ? at / handlerSize : -1;
  }

  gpr(i: number): number {
    return Number(this.cpu.getBig(state.gpr[i]));
  }

  /** 64-bit word `i` of the interrupt frame that RSP points at. */
  frame(i: number): number {
    return Number(this.view.getBigUint64(this.gpr(4) + 8 * i, true));
  }
}

export async function smallGuest(tier: Tier): Promise<SmallGuest> {
  return new SmallGuest(await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }], tier }));
}

/** One vCPU of /dev/kvm: its state, as structures, and its run page. */
import { UserError } from '../../base/index.ts';
import { ERRNO, errnoName, type SharedMemory } from './host.ts';
import { CAP, VCPU } from './ioctls.ts';
import { type CStruct, viewOf } from './struct.ts';
import * as s from './structures.ts';
import { decodeCpuid, encodeCpuid } from './system.ts';
import type { KvmVm } from './vm.ts';

const CPUID_ENTRIES_MAX = 256;
const PAGE = 4096;
/** Where the ring of coalesced writes is in the run pages (KVM_COALESCED_MMIO_PAGE_OFFSET), and its fields. */
const COALESCED = { page: 2 * PAGE, last: 4, entries: 8 } as const;

export interface CoalescedWrite {
  readonly address: number;
  readonly pio: boolean;
  readonly data: Uint8Array;
}

/** Values of mp_state. */
export const MP_STATE = { runnable: 0, uninitialized: 1, initReceived: 2, halted: 3, sipiReceived: 4 } as const;

export type Msrs = ReadonlyMap<number, bigint>;

export class KvmVcpu {
  readonly id: number;
  readonly fd: number;
  /** The run page and what follows it. */
  readonly run: Uint8Array;
  readonly runView: DataView;
  readonly #vm: KvmVm;
  readonly #runMemory: SharedMemory;
  readonly #runOffset: number;
  #given: readonly s.CpuidEntry[] = [];

  constructor(vm: KvmVm, id: number, fd: number, run: SharedMemory, offset: number) {
    this.#vm = vm;
    this.id = id;
    this.fd = fd;
    const size = vm.system.runSizeBytes;
    const mapped = vm.host.mapOver(run, offset, size, fd, 0);
    if (mapped < 0) throw new UserError(`KVM does not show the run page of vCPU ${id}: ${errnoName(-mapped)}`);
    this.#runMemory = run;
    this.#runOffset = offset;
    this.run = new Uint8Array(run.buffer, run.offset + offset, size);
    this.runView = viewOf(this.run);
  }

  /** Throws UserError when KVM refuses. */
  call(name: keyof typeof VCPU, argument = 0): number {
    return this.#checked(name, this.#vm.host.ioctl(this.fd, VCPU[name], argument));
  }

  callStruct(name: keyof typeof VCPU, argument: Uint8Array): number {
    return this.#checked(name, this.#vm.host.ioctlStruct(this.fd, VCPU[name], argument));
  }

  #get<T>(name: keyof typeof VCPU, type: CStruct<T>): T {
    const bytes = type.encode({});
    this.callStruct(name, bytes);
    return type.decode(bytes);
  }

  #checked(name: string, result: number): number {
    if (result < 0) throw new UserError(`KVM refuses ${name} for vCPU ${this.id}: ${errnoName(-result)}`);
    return result;
  }

  /** Runs guest code in this thread until something must be done; 0, or a negative error number. */
  enter(): number {
    return this.#vm.host.ioctl(this.fd, VCPU.RUN, 0);
  }

  regs(): s.Regs {
    return this.#get('GET_REGS', s.regs);
  }
  setRegs(value: s.Regs): void {
    this.callStruct('SET_REGS', s.regs.encode(value));
  }
  sregs(): s.Sregs {
    return this.#get('GET_SREGS', s.sregs);
  }
  setSregs(value: s.Sregs): void {
    this.callStruct('SET_SREGS', s.sregs.encode(value));
  }
  fpu(): s.Fpu {
    return this.#get('GET_FPU', s.fpu);
  }
  setFpu(value: s.Fpu): void {
    this.callStruct('SET_FPU', s.fpu.encode(value));
  }
  /** The XSAVE area in its standard format. */
  xsave(): Uint8Array {
    return this.#get('GET_XSAVE', s.xsave).region;
  }
  setXsave(region: Uint8Array): void {
    this.callStruct('SET_XSAVE', s.xsave.encode({ region }));
  }
  /** 1 on a host without XSAVE. */
  xcr0(): bigint {
    if (this.#vm.system.capability(CAP.XCRS) === 0) return 1n;
    const { entries, count } = this.#get('GET_XCRS', s.xcrs);
    return entries.slice(0, count).find(({ xcr }) => xcr === 0)?.value ?? 1n;
  }
  setXcr0(value: bigint): void {
    if (value === 1n && this.#vm.system.capability(CAP.XCRS) === 0) return;
    this.callStruct('SET_XCRS', s.xcrs.encode({ count: 1, entries: [{ xcr: 0, reserved: 0, value }] }));
  }
  vcpuEvents(): s.VcpuEvents {
    return this.#get('GET_VCPU_EVENTS', s.vcpuEvents);
  }
  setVcpuEvents(value: s.VcpuEvents): void {
    this.callStruct('SET_VCPU_EVENTS', s.vcpuEvents.encode(value));
  }
  debugregs(): s.Debugregs {
    return this.#get('GET_DEBUGREGS', s.debugregs);
  }
  setDebugregs(value: s.Debugregs): void {
    this.callStruct('SET_DEBUGREGS', s.debugregs.encode(value));
  }
  /** 1 KiB of registers, 16 bytes each. */
  lapic(): Uint8Array {
    return this.#get('GET_LAPIC', s.lapicState).registers;
  }
  setLapic(registers: Uint8Array): void {
    this.callStruct('SET_LAPIC', s.lapicState.encode({ registers }));
  }
  mpState(): number {
    return this.#get('GET_MP_STATE', s.mpState).state;
  }
  setMpState(state: number): void {
    this.callStruct('SET_MP_STATE', s.mpState.encode({ state }));
  }

  /** Reads MSRs; those that KVM does not have are left out. */
  msrs(indices: readonly number[]): Map<number, bigint> {
    const found = new Map<number, bigint>();
    for (let at = 0; at < indices.length; ) {
      const bytes = encodeMsrs(indices.slice(at).map((index) => [index, 0n]));
      const count = this.callStruct('GET_MSRS', bytes);
      const view = viewOf(bytes);
      for (let i = 0; i < count; i++) {
        const { index, data } = s.msrEntry.read(view, s.listHead.size + i * s.msrEntry.size);
        found.set(index, data);
      }
      at += count + 1; // KVM stops at one that it does not have
    }
    return found;
  }

  /** Writes MSRs in order; returns those that KVM refused. */
  setMsrs(values: Msrs): number[] {
    const entries = [...values];
    const refused: number[] = [];
    for (let at = 0; at < entries.length; ) {
      const count = this.callStruct('SET_MSRS', encodeMsrs(entries.slice(at)));
      at += count;
      if (at < entries.length) refused.push(entries[at++][0]);
    }
    return refused;
  }

  cpuid(): s.CpuidEntry[] {
    const bytes = new Uint8Array(s.listHead.size + CPUID_ENTRIES_MAX * s.cpuidEntry.size);
    s.listHead.write(viewOf(bytes), 0, { count: CPUID_ENTRIES_MAX });
    this.callStruct('GET_CPUID2', bytes);
    return decodeCpuid(bytes);
  }
  /** What was last set: a PVM shows its guest more, which it cannot hide. */
  get givenCpuid(): readonly s.CpuidEntry[] {
    return this.#given;
  }
  setCpuid(entries: readonly s.CpuidEntry[]): void {
    this.callStruct('SET_CPUID2', encodeCpuid(entries));
    this.#given = entries;
  }

  tscKhz(): number {
    return this.call('GET_TSC_KHZ');
  }
  /** False when the processor cannot run its counter at this rate. */
  setTscKhz(khz: number): boolean {
    const before = this.tscKhz();
    if (this.#vm.host.ioctl(this.fd, VCPU.SET_TSC_KHZ, khz) === 0) return true;
    // KVM says the refused rate from then on.
    this.#vm.host.ioctl(this.fd, VCPU.SET_TSC_KHZ, before);
    return false;
  }

  /** Takes the writes that were collected in the ring since the last call (KVM_CAP_COALESCED_MMIO). */
  coalescedWrites(): CoalescedWrite[] {
    const writes: CoalescedWrite[] = [];
    const { runView: view } = this;
    const entries = Math.floor((PAGE - COALESCED.entries) / s.coalescedEntry.size);
    const last = view.getUint32(COALESCED.page + COALESCED.last, true);
    let first = view.getUint32(COALESCED.page, true);
    for (; first !== last; first = (first + 1) % entries) {
      const at = COALESCED.page + COALESCED.entries + first * s.coalescedEntry.size;
      const { physAddr, length, pio, data } = s.coalescedEntry.read(view, at);
      writes.push({ address: Number(physAddr), pio: pio !== 0, data: data.subarray(0, length) });
    }
    view.setUint32(COALESCED.page, first, true);
    return writes;
  }

  nmi(): void {
    this.call('NMI');
  }
  /** Injects an external interrupt; false when one waits already. For interrupt controllers outside the kernel. */
  interrupt(vector: number): boolean {
    const result = this.#vm.host.ioctlStruct(this.fd, VCPU.INTERRUPT, s.interrupt.encode({ irq: vector }));
    if (-result === ERRNO.EEXIST) return false;
    this.#checked('INTERRUPT', result);
    return true;
  }

  /** Single step, or up to four hardware breakpoints, or exits at INT3. */
  setGuestDebug(debug: {
    singleStep?: boolean;
    software?: boolean;
    breakpoints?: readonly HardwareBreakpoint[];
  }): void {
    const { singleStep, software, breakpoints = [] } = debug;
    const registers = Array.from({ length: 8 }, () => 0n);
    let control = 0;
    if (singleStep) control |= GUESTDBG.enable | GUESTDBG.singleStep;
    if (software) control |= GUESTDBG.enable | GUESTDBG.software;
    if (breakpoints.length > 0) {
      control |= GUESTDBG.enable | GUESTDBG.hardware;
      registers[7] = 0x400n;
      for (const [i, { address, kind, length }] of breakpoints.slice(0, 4).entries()) {
        registers[i] = address;
        const type = { execute: 0n, write: 1n, access: 3n }[kind];
        const size = { 1: 0n, 2: 1n, 4: 3n, 8: 2n }[length];
        registers[7] |= (2n << BigInt(i * 2)) | ((type | (size << 2n)) << BigInt(16 + i * 4));
      }
    }
    this.callStruct('SET_GUEST_DEBUG', s.guestDebug.encode({ control, debugreg: registers }));
  }

  close(): void {
    this.#vm.host.discard(this.#runMemory, this.#runOffset, this.run.length);
    this.#vm.host.close(this.fd);
  }
}

export interface HardwareBreakpoint {
  readonly address: bigint;
  readonly kind: 'execute' | 'write' | 'access';
  readonly length: 1 | 2 | 4 | 8;
}

const GUESTDBG = { enable: 1, singleStep: 2, software: 0x1_0000, hardware: 0x2_0000 } as const;

function encodeMsrs(entries: readonly (readonly [number, bigint])[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(s.listHead.size + entries.length * s.msrEntry.size);
  const view = viewOf(bytes);
  s.listHead.write(view, 0, { count: entries.length });
  for (const [i, [index, data]] of entries.entries())
    s.msrEntry.write(view, s.listHead.size + i * s.msrEntry.size, { index, data });
  return bytes;
}

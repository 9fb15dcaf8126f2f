/**
 * The slow side of memory: TLB fills, page crossings, MMIO, writes to pages
 * with decoded code, and the accesses of the system side.
 */
import type { AccessSize, Bus } from '../../contract/index.ts';
import {
  CpuFault,
  dataBreakpoints,
  isCanonical,
  modeBits,
  type PageWalker,
  pageAccess,
  type Rights,
  rights,
  rightsBits,
  type SystemPorts,
  state,
  withinLimit,
  type X86State,
} from '../../target/index.ts';
import type { CodeCache } from './code-cache.ts';
import { codePages, copyBuffer, stateBase, tlb, tlbSets, walk } from './layout.ts';
import type { TcgMemory } from './memory.ts';
import { entryFlags, entryOffset, setBase, Tlb } from './tlb.ts';

type MemoryPorts = Pick<
  SystemPorts,
  | 'read8'
  | 'read16'
  | 'read32'
  | 'write8'
  | 'write16'
  | 'write32'
  | 'readBytes'
  | 'writeBytes'
  | 'probeWrite'
  | 'readPhysical32'
  | 'setPhysicalBits'
>;

/** About what a byte of MMIO costs, in taken branches. */
const mmioBranchesPerByte = 8;
const pageMask = ~0xfff;
const slowOffset = stateBase + state.slow.offset;

export class Mmu implements MemoryPorts {
  /** Walks of the page tables that generated code had left to us. */
  private slowWalks = 0;
  readonly tlb: Tlb;
  private readonly memory: TcgMemory;
  private readonly cpu: X86State;
  private readonly mmio: Bus;
  private readonly words: Int32Array;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private walker!: PageWalker;
  private code!: CodeCache;
  /** Where the last translation led: engine address, or -1 for MMIO at `physical`. */
  private host = -1;
  private physical = 0;
  /** The last fault was about the address itself; taken and cleared by who delivers it. */
  addressFaulted = false;

  constructor(memory: TcgMemory, cpu: X86State, mmio: Bus) {
    this.memory = memory;
    this.cpu = cpu;
    this.mmio = mmio;
    this.words = new Int32Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.bytes = memory.bytes;
    this.tlb = new Tlb(memory, cpu);
    memory.dirtyLog.onForget = () => {
      this.tlb.flush(false);
      this.words[walk.off >> 2] = 1;
    };
  }

  /** TLB misses that walked the page tables. */
  get walks(): number {
    return this.slowWalks + (this.words[walk.count >> 2] >>> 0);
  }

  /** The walker reads tables through this object, and the code cache needs the handlers: both come later. */
  connect(walker: PageWalker, code: CodeCache): void {
    this.walker = walker;
    this.code = code;
  }

  // --- Called by generated code. 1: a fault is pending.

  loadSlow(low: number, high: number, size: number): number {
    try {
      this.read(low, high, size, this.currentRights(), slowOffset);
      this.watch(low, high, size, false);
      return 0;
    } catch (e) {
      return this.pend(e);
    }
  }

  storeSlow(low: number, high: number, size: number): number {
    try {
      this.write(low, high, size, this.currentRights(), slowOffset);
      this.watch(low, high, size, true);
      return 0;
    } catch (e) {
      return this.pend(e);
    }
  }

  /**
   * Linear address of an access through a segment that is not flat, into state `slow`; #GP or #SS beyond the limit or
   * against the segment's rights (SDM vol. 3, 5.3 and 5.5).
   */
  segmentSlow(number: number, offset: number, access: number): number {
    const { cpu } = this;
    const segment = state.segments[number];
    const segmentRights = cpu.get(segment.rights);
    const isWrite = (access & 0x100) !== 0;
    const isCode = (segmentRights & rightsBits.code) !== 0;
    // Real and virtual-8086 mode know no types: code may be written through CS.
    const typed = (cpu.get(state.cr0) & 1) !== 0 && (cpu.get(state.eflags) & state.flag.VM) === 0;
    const allowed = !typed || (isWrite ? !isCode && (segmentRights & 2) !== 0 : !isCode || (segmentRights & 2) !== 0);
    if (
      segmentRights & rightsBits.unusable ||
      !allowed ||
      !withinLimit(offset >>> 0, access & 0xff, cpu.get(segment.limit) >>> 0, segmentRights)
    ) {
      cpu.set(state.faultVector, number === 2 ? state.vector.SS : state.vector.GP);
      cpu.set(state.faultError, 0);
      return 1;
    }
    cpu.setPair(state.slow, (cpu.get(segment.base) + offset) | 0, 0);
    return 0;
  }

  probeSlow(low: number, high: number, size: number): number {
    try {
      this.probeWrite(low, high, this.currentRights(), size);
      return 0;
    } catch (e) {
      return this.pend(e);
    }
  }

  /** Puts a fault thrown by the system side into the state; anything else is our bug and goes on up. */
  pend(e: unknown): number {
    if (!(e instanceof CpuFault)) throw e;
    this.cpu.set(state.faultVector, e.vector);
    this.cpu.set(state.faultError, e.error);
    return 1;
  }

  // --- Translation.

  private currentRights(): Rights {
    return this.cpu.get(state.cpl) === 3 ? rights.user : rights.supervisor;
  }

  private setBase(by: Rights): number {
    if (by === rights.user) return this.tlb.userSet;
    const ac = by === rights.supervisor && (this.cpu.get(state.eflags) & state.flag.AC) !== 0;
    return setBase(ac ? tlbSets.kernelAc : tlbSets.kernel);
  }

  /** Chooses the TLB set for generated code; its execute entries name tables of one decoding mode. */
  selectSet(mode: number): void {
    const base = this.setBase(this.currentRights());
    this.cpu.set(state.userTlb, this.tlb.userSet);
    this.cpu.set(state.tlbBase, base);
    this.tlb.selectMode(base, mode);
  }

  /** Sets `host` and `physical` for one byte address; throws the fault. */
  private translate(low: number, high: number, write: boolean, by: Rights): void {
    const set = this.setBase(by);
    const index = (set + entryOffset(low)) >> 2;
    const tag = index + ((write ? tlb.writeTag : tlb.readTag) >> 2);
    const { words } = this;
    if (words[tag] === (low & pageMask) && words[tag + 1] === high) {
      this.host = (low + words[index + (tlb.addend >> 2)]) >>> 0;
      return;
    }
    const readTag = index + (tlb.readTag >> 2);
    if (
      write &&
      words[readTag] === (low & pageMask) &&
      words[readTag + 1] === high &&
      words[index + (tlb.flags >> 2)] & entryFlags.writableCode
    ) {
      this.host = (low + words[index + (tlb.addend >> 2)]) >>> 0;
      return;
    }
    this.fill(set, index, low, high, write, by);
  }

  private fill(set: number, index: number, low: number, high: number, write: boolean, by: Rights): void {
    const { walker } = this;
    if (!isCanonical(this.cpu, high)) this.addressFault();
    this.slowWalks++;
    const access =
      (write ? pageAccess.write : 0) |
      (by === rights.user ? pageAccess.user : by === rights.implicit ? pageAccess.implicit : 0);
    if (!walker.walk(low, high, access)) this.pageFault(low, high);
    this.physical = walker.page + (low & 0xfff);
    const host = this.memory.hostAddress(walker.page);
    if (host < 0) {
      this.host = -1;
      return;
    }
    this.host = host + (low & 0xfff);
    const { dirtyLog } = this.memory;
    this.words[walk.off >> 2] = dirtyLog.isOn ? 1 : 0;
    if (write) dirtyLog.note(host, 1);
    const hasCode = this.code.hasCode(walker.page);
    this.noteCode(host, hasCode);
    // Pages with a data breakpoint stay slow, so that `watch` sees each access.
    const isWatched = dataBreakpoints(this.cpu, low & pageMask, high, 0x1000, true) !== 0;
    const flags =
      (walker.isGlobal ? entryFlags.global : 0) |
      (walker.canWrite && walker.canRead && hasCode ? entryFlags.writableCode : 0);
    const canWrite = walker.canWrite && !hasCode && !isWatched && dirtyLog.permits(host);
    this.tlb.enter(set, index, low, high, host, walker.canRead && !isWatched, canWrite, flags);
    if (walker.sizeBits > 12) this.tlb.noteLargePage(low, high, walker.sizeBits);
  }

  /** Notes the data breakpoints that an access has met; #DB comes when the instruction is done. */
  private watch(low: number, high: number, size: number, isWrite: boolean): void {
    const { cpu } = this;
    const met = dataBreakpoints(cpu, low, high, size, isWrite);
    if (met) cpu.set(state.pendingDebug, cpu.get(state.pendingDebug) | met);
  }

  private pageFault(low: number, high: number): never {
    this.cpu.setPair(state.faultAddress, low, high);
    throw new CpuFault(state.vector.PF, this.walker.error);
  }

  /** An address that no access may have: #GP, or #SS through the stack segment, which the vCPU tells apart. */
  private addressFault(): never {
    this.addressFaulted = true;
    throw new CpuFault(state.vector.GP, 0);
  }

  /** The address after a page's last byte; outside 64-bit mode no access wraps around. */
  private nextPage(low: number, high: number, first: number): [number, number] {
    const next = (low + first) | 0;
    if (next !== 0) return [next, high];
    const nextHigh = (high + 1) | 0;
    if ((this.cpu.get(state.mode) & modeBits.long64) === 0 || !isCanonical(this.cpu, nextHigh)) this.addressFault();
    return [next, nextHigh];
  }

  /**
   * The physical page behind a linear address for execution, putting its entry
   * table into the execute TLB. Throws the fault; -1 where there is no RAM.
   */
  fetchPage(low: number, high: number): number {
    if (!isCanonical(this.cpu, high)) throw new CpuFault(state.vector.GP, 0);
    const by = this.currentRights();
    this.slowWalks++;
    if (!this.walker.walk(low, high, pageAccess.fetch | (by === rights.user ? pageAccess.user : 0)))
      this.pageFault(low, high);
    return this.memory.hostAddress(this.walker.page) < 0 ? -1 : this.walker.page;
  }

  /** Enters the result of the last `fetchPage` into the execute TLB. */
  setExecuteEntry(low: number, high: number, table: number): void {
    this.tlb.enterExecute(this.cpu.get(state.tlbBase), low, high, table, this.walker.isGlobal);
    if (this.walker.sizeBits > 12) this.tlb.noteLargePage(low, high, this.walker.sizeBits);
  }

  /** Withdraws write permission from all entries of a physical page: it has code now. */
  protectPage(physicalPage: number): void {
    const host = this.memory.hostAddress(physicalPage);
    this.noteCode(host, true);
    this.tlb.protect(host | 0);
  }

  /** Tells generated walks whether a page may have code; that it has none any more they are told late. */
  private noteCode(host: number, hasCode: boolean): void {
    const at = codePages.base + (host >>> 15);
    const bit = 1 << ((host >>> 12) & 7);
    if (hasCode) this.bytes[at] |= bit;
    else this.bytes[at] &= ~bit;
  }

  // --- Accesses of any size, between guest memory and engine memory at `at`.

  private copy(to: number, from: number, size: number): void {
    const { bytes } = this;
    if (size > 16) bytes.copyWithin(to, from, from + size);
    else for (let i = 0; i < size; i++) bytes[to + i] = bytes[from + i];
  }

  private read(low: number, high: number, size: number, by: Rights, at: number): void {
    const first = 0x1000 - (low & 0xfff);
    if (size > first) {
      const [nextLow, nextHigh] = this.nextPage(low, high, first);
      this.read(low, high, first, by, at);
      this.read(nextLow, nextHigh, size - first, by, at + first);
      return;
    }
    this.translate(low, high, false, by);
    if (this.host >= 0) this.copy(at, this.host, size);
    else this.mmioRead(this.physical, size, at);
  }

  private write(low: number, high: number, size: number, by: Rights, from: number): void {
    const first = 0x1000 - (low & 0xfff);
    if (size > first) {
      const [nextLow, nextHigh] = this.nextPage(low, high, first);
      this.translate(low, high, true, by);
      this.translate(nextLow, nextHigh, true, by);
      this.write(low, high, first, by, from);
      this.write(nextLow, nextHigh, size - first, by, from + first);
      return;
    }
    this.translate(low, high, true, by);
    if (this.host < 0) {
      this.mmioWrite(this.physical, size, from);
      return;
    }
    this.copy(this.host, from, size);
    this.noteWrite(low, high, size, by);
  }

  /** After a write through a slow path: decoded code of these bytes is dropped. */
  private noteWrite(low: number, high: number, size: number, by: Rights): void {
    const index = (this.setBase(by) + entryOffset(low)) >> 2;
    const tag = index + (tlb.writeTag >> 2);
    if (this.words[tag] === (low & pageMask) && this.words[tag + 1] === high) return;
    this.memory.dirtyLog.note(this.host, size);
    const physical = this.physicalOfHost(this.host);
    this.code.invalidate(physical, size);
    // Without code the page may have a write tag again: the next write fills it.
    if (!this.code.hasCode(physical - (physical % 0x1000))) this.tlb.dropEntry(index);
  }

  private physicalOfHost(host: number): number {
    for (const range of this.memory.ranges) {
      const within = host - range.offset;
      if (within >= 0 && within < range.size) return range.base + within;
    }
    return -1;
  }

  private mmioRead(physical: number, size: number, at: number): void {
    this.chargeMmio(size);
    let done = 0;
    while (done < size) {
      const width = accessWidth(physical + done, size - done);
      const value = this.mmio.read(physical + done, width);
      if (width === 4) this.view.setUint32(at + done, value, true);
      else if (width === 2) this.view.setUint16(at + done, value, true);
      else this.bytes[at + done] = value;
      done += width;
    }
  }

  /** A slice is measured in branches; device accesses cost as much as many of them. */
  private chargeMmio(size: number): void {
    this.cpu.set(state.budget, this.cpu.get(state.budget) - mmioBranchesPerByte * size);
  }

  private mmioWrite(physical: number, size: number, from: number): void {
    this.chargeMmio(size);
    let done = 0;
    while (done < size) {
      const width = accessWidth(physical + done, size - done);
      const at = from + done;
      const value =
        width === 4 ? this.view.getUint32(at, true) : width === 2 ? this.view.getUint16(at, true) : this.bytes[at];
      this.mmio.write(physical + done, width, value);
      done += width;
    }
  }

  // --- SystemPorts.

  read8(low: number, high: number, by: Rights): number {
    this.read(low, high, 1, by, slowOffset);
    return this.bytes[slowOffset];
  }

  read16(low: number, high: number, by: Rights): number {
    this.read(low, high, 2, by, slowOffset);
    return this.view.getUint16(slowOffset, true);
  }

  read32(low: number, high: number, by: Rights): number {
    if ((low & 3) === 0) {
      this.translate(low, high, false, by);
      if (this.host >= 0) return this.words[this.host >>> 2];
    }
    this.read(low, high, 4, by, slowOffset);
    return this.view.getInt32(slowOffset, true);
  }

  write8(low: number, high: number, by: Rights, value: number): void {
    this.bytes[slowOffset] = value;
    this.write(low, high, 1, by, slowOffset);
  }

  write16(low: number, high: number, by: Rights, value: number): void {
    this.view.setUint16(slowOffset, value & 0xffff, true);
    this.write(low, high, 2, by, slowOffset);
  }

  write32(low: number, high: number, by: Rights, value: number): void {
    this.view.setInt32(slowOffset, value, true);
    this.write(low, high, 4, by, slowOffset);
  }

  readBytes(low: number, high: number, by: Rights, bytes: Uint8Array, length: number): void {
    this.read(low, high, length, by, copyBuffer.base);
    bytes.set(this.bytes.subarray(copyBuffer.base, copyBuffer.base + length));
  }

  writeBytes(low: number, high: number, by: Rights, bytes: Uint8Array, length: number): void {
    this.bytes.set(bytes.subarray(0, length), copyBuffer.base);
    this.write(low, high, length, by, copyBuffer.base);
  }

  probeWrite(low: number, high: number, by: Rights, length: number): void {
    this.translate(low, high, true, by);
    if ((low & 0xfff) + length > 0x1000) this.translate(...offsetBy(low & pageMask, high, 0x1000), true, by);
  }

  readPhysical32(address: number): number {
    const host = this.memory.hostAddress(address);
    return host < 0 ? -1 : this.words[host >>> 2];
  }

  setPhysicalBits(address: number, bits: number): void {
    const host = this.memory.hostAddress(address);
    if (host < 0) return;
    Atomics.or(this.words, host >>> 2, bits);
    this.memory.dirtyLog.note(host, 4);
  }
}

/** The widest aligned MMIO access at `address` that `left` bytes allow. */
function accessWidth(address: number, left: number): AccessSize {
  if (left >= 4 && address % 4 === 0) return 4;
  return left >= 2 && address % 2 === 0 ? 2 : 1;
}

function offsetBy(low: number, high: number, bytes: number): [number, number] {
  const sum = (low >>> 0) + bytes;
  return [sum | 0, sum > 0xffff_ffff ? (high + 1) | 0 : high];
}

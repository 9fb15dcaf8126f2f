/**
 * The entries of the software TLB, which generated code reads (layout.ts): who filled them, and what forgets them.
 *
 * User mode has a set for each of several contexts (PCIDs), so that a switch between address spaces that keeps
 * translations (CR3 bit 63) costs nothing. The kernel's sets are shared by all of them: their entries that are not
 * global go with the context.
 */
import { cr4Bits, state, type X86State } from '../../target/index.ts';
import { tlb, tlbSets, walk } from './layout.ts';
import type { TcgMemory } from './memory.ts';

/**
 * Flags of an entry: a global page; a page that may be written through the slow path, which watches for code; and the
 * lists that name the entry.
 */
export const entryFlags = { global: 1, writableCode: 2, inLocal: 4, inGlobal: 8 } as const;
const pageMask = ~0xfff;

export class Tlb {
  private readonly cpu: X86State;
  private readonly words: Int32Array;
  private readonly pcids = new Int32Array(tlb.contexts).fill(-1);
  private readonly lastUse = new Float64Array(tlb.contexts);
  private uses = 0;
  /** The context in use. */
  private context = 0;
  /** The first and the last linear page (numbers of 4-KiB pages) that lie in large ones, of each half. */
  private readonly largePages: Float64Array;

  constructor(memory: TcgMemory, cpu: X86State) {
    this.cpu = cpu;
    this.words = new Int32Array(memory.buffer);
    this.largePages = new Float64Array(memory.buffer, walk.largePages, 4);
    this.forgetLargePages();
    for (let set = 0; set < tlb.sets; set++) this.clearSet(set);
    this.selectContext(0, 0);
  }

  /** Base of the set for user mode in the current context. */
  get userSet(): number {
    return setBase(tlbSets.user + this.context);
  }

  // --- Filling.

  /**
   * Enters a translation to the engine address `host` of the page into data entry `index` (a word index) of a set.
   * `flags`: those of `entryFlags` that tell about the page.
   */
  enter(
    set: number,
    index: number,
    low: number,
    high: number,
    host: number,
    canRead: boolean,
    canWrite: boolean,
    flags: number,
  ): void {
    const { words } = this;
    const at = index + (tlb.flags >> 2);
    this.setTag(index + (tlb.readTag >> 2), canRead, low, high);
    this.setTag(index + (tlb.writeTag >> 2), canWrite, low, high);
    words[index + (tlb.addend >> 2)] = (host - (low & pageMask)) | 0;
    words[at] = (words[at] & (entryFlags.inLocal | entryFlags.inGlobal)) | flags;
    this.remember(set, at, index);
  }

  enterExecute(set: number, low: number, high: number, table: number, isGlobal: boolean): void {
    const { words } = this;
    const index = (set + tlb.executeOffset + executeOffset(low)) >> 2;
    const flags = index + (tlb.executeFlags >> 2);
    this.setTag(index, true, low, high);
    words[index + (tlb.table >> 2)] = table;
    words[flags] = (words[flags] & (entryFlags.inLocal | entryFlags.inGlobal)) | (isGlobal ? entryFlags.global : 0);
    this.remember(set, flags, -index);
  }

  /** Entry table of the page at a linear address, as the set in use has it, or 0. */
  executeTable(low: number, high: number): number {
    return executeTableIn(this.words, this.cpu.get(state.tlbBase), low, high);
  }

  /** Puts an entry into the list that its kind of page is forgotten by, unless it is there. */
  private remember(set: number, flags: number, index: number): void {
    const { words } = this;
    const isGlobal = (words[flags] & entryFlags.global) !== 0;
    const listed = isGlobal ? entryFlags.inGlobal : entryFlags.inLocal;
    if (words[flags] & listed) return;
    words[flags] |= listed;
    const count = (set + (isGlobal ? tlb.globalCount : tlb.localCount)) >> 2;
    words[((set + (isGlobal ? tlb.globalList : tlb.localList)) >> 2) + words[count]++] = index;
  }

  /** A page of 2 ** sizeBits bytes holds the translation at (low, high): INVLPG anywhere in it forgets all of it. */
  noteLargePage(low: number, high: number, sizeBits: number): void {
    const { largePages } = this;
    const at = high < 0 ? 2 : 0;
    const count = 2 ** (sizeBits - 12);
    const page = pageNumber(low, high);
    const first = page - (page % count);
    largePages[at] = Math.min(largePages[at], first);
    largePages[at + 1] = Math.max(largePages[at + 1], first + count - 1);
  }

  private forgetLargePages(): void {
    this.largePages.set([Infinity, -Infinity, Infinity, -Infinity]);
  }

  // --- Forgetting.

  flush(keepGlobal: boolean): void {
    for (let set = 0; set < tlb.sets; set++) {
      this.dropList(setBase(set), false);
      if (!keepGlobal) this.dropList(setBase(set), true);
    }
    if (keepGlobal) return;
    this.forgetLargePages();
    // CR3 may have come by another way than a load of it (reset, a boot protocol, a snapshot).
    const { cpu } = this;
    this.pcids.fill(-1);
    this.pcids[this.context] = cpu.get(state.cr4) & cr4Bits.PCIDE ? cpu.get(state.cr3) & 0xfff : 0;
  }

  /** Forgets what is not global of one PCID. */
  flushContext(pcid: number): void {
    const known = this.pcids.indexOf(pcid);
    if (known < 0) return;
    this.dropList(setBase(tlbSets.user + known), false);
    if (known !== this.context) return;
    this.dropList(setBase(tlbSets.kernel), false);
    this.dropList(setBase(tlbSets.kernelAc), false);
  }

  /** CR3 was loaded: translations are those of `pcid` now, without the ones it had unless `keep`. */
  enterContext(pcid: number, keep: boolean): void {
    if (this.pcids[this.context] === pcid) {
      if (!keep) this.flushContext(pcid);
      return;
    }
    this.dropList(setBase(tlbSets.kernel), false);
    this.dropList(setBase(tlbSets.kernelAc), false);
    const known = this.pcids.indexOf(pcid);
    const next = known >= 0 ? known : this.leastRecentContext();
    if (known < 0 || !keep) {
      this.dropList(setBase(tlbSets.user + next), false);
      // Who runs under another PCID may have other global pages, as far as this engine cares.
      if (known < 0) this.dropList(setBase(tlbSets.user + next), true);
    }
    this.selectContext(next, pcid);
  }

  private leastRecentContext(): number {
    let oldest = 0;
    for (let i = 1; i < tlb.contexts; i++) if (this.lastUse[i] < this.lastUse[oldest]) oldest = i;
    return oldest;
  }

  private selectContext(context: number, pcid: number): void {
    const { cpu } = this;
    const inUserMode = cpu.get(state.tlbBase) === this.userSet;
    this.context = context;
    this.pcids[context] = pcid;
    this.lastUse[context] = ++this.uses;
    cpu.set(state.userTlb, this.userSet);
    if (inUserMode) cpu.set(state.tlbBase, this.userSet);
  }

  /** Forgets the page around a linear address, whichever context it is of, and large pages wholly. */
  flushPage(low: number, high: number): void {
    const page = pageNumber(low, high);
    const at = high < 0 ? 2 : 0;
    if (page >= this.largePages[at] && page <= this.largePages[at + 1]) {
      this.flush(false);
      return;
    }
    for (let set = 0; set < tlb.sets; set++) {
      this.dropEntry((setBase(set) + entryOffset(low)) >> 2);
      this.dropEntry(-((setBase(set) + tlb.executeOffset + executeOffset(low)) >> 2));
    }
  }

  /** Withdraws write permission from all entries that lead to the engine address `host` of a page. */
  protect(host: number): void {
    for (let set = 0; set < tlb.sets; set++) {
      this.protectList(setBase(set), tlb.localList, tlb.localCount, host);
      this.protectList(setBase(set), tlb.globalList, tlb.globalCount, host);
    }
  }

  private protectList(set: number, list: number, count: number, host: number): void {
    const { words } = this;
    const start = (set + list) >> 2;
    const end = start + words[(set + count) >> 2];
    for (let i = start; i < end; i++) {
      const index = words[i];
      if (index < 0) continue;
      const tag = index + (tlb.writeTag >> 2);
      if (((words[tag] + words[index + (tlb.addend >> 2)]) | 0) === host) this.setTag(tag, false, 0, 0);
    }
  }

  /** Empties one of a set's lists and forgets the entries in it, unless they have come to be of the other kind. */
  private dropList(set: number, global: boolean): void {
    const { words } = this;
    const count = (set + (global ? tlb.globalCount : tlb.localCount)) >> 2;
    const start = (set + (global ? tlb.globalList : tlb.localList)) >> 2;
    const listed = global ? entryFlags.inGlobal : entryFlags.inLocal;
    const end = start + words[count];
    for (let i = start; i < end; i++) {
      const index = words[i];
      const flags = index < 0 ? -index + (tlb.executeFlags >> 2) : index + (tlb.flags >> 2);
      words[flags] &= ~listed;
      if (((words[flags] & entryFlags.global) !== 0) === global) this.dropEntry(index);
    }
    words[count] = 0;
  }

  /** @param index word index of a data entry, or less than 0: of an execute entry */
  dropEntry(index: number): void {
    if (index < 0) {
      this.setTag(-index, false, 0, 0);
      return;
    }
    this.setTag(index + (tlb.readTag >> 2), false, 0, 0);
    this.setTag(index + (tlb.writeTag >> 2), false, 0, 0);
  }

  // --- Decoding modes.

  /** Makes a set's execute entries those of a decoding mode. */
  selectMode(set: number, mode: number): void {
    const at = (set + tlb.mode) >> 2;
    if (this.words[at] === mode) return;
    this.words[at] = mode;
    this.flushExecute(set);
  }

  /** Forgets where code is; the tables that the execute entries name are gone. */
  flushAllExecute(): void {
    for (let set = 0; set < tlb.sets; set++) this.flushExecute(setBase(set));
  }

  private flushExecute(set: number): void {
    const first = (set + tlb.executeOffset) >> 2;
    const step = 1 << (tlb.executeShift - 2);
    for (let i = 0; i < tlb.executeEntries; i++) this.setTag(first + i * step, false, 0, 0);
  }

  private clearSet(set: number): void {
    const base = setBase(set);
    this.words.fill(0, base >> 2, (base + tlb.stride) >> 2);
    this.words[(base + tlb.mode) >> 2] = -1;
    for (let i = 0; i < tlb.entries; i++) this.dropEntry((base + (i << tlb.entryShift)) >> 2);
    this.flushExecute(base);
  }

  private setTag(at: number, valid: boolean, low: number, high: number): void {
    this.words[at] = valid ? low & pageMask : -1;
    this.words[at + 1] = valid ? high : -1;
  }
}

/** Engine address of a set. */
export const setBase = (set: number): number => tlb.base + set * tlb.stride;

/** Byte offset of the data entry for a linear address in its set; generated code computes the same (emit/builder.ts). */
export function entryOffset(low: number): number {
  return ((low ^ (low >>> tlb.foldShift)) >>> (12 - tlb.entryShift)) & ((tlb.entries - 1) << tlb.entryShift);
}

/** The same for execute entries (interpreter.ts). */
function executeOffset(low: number): number {
  return ((low ^ (low >>> tlb.foldShift)) >>> (12 - tlb.executeShift)) & ((tlb.executeEntries - 1) << tlb.executeShift);
}

const pageNumber = (low: number, high: number): number => (high & 0x1ff_ffff) * 0x10_0000 + (low >>> 12);

/** Entry table of the page at a linear address, as a TLB set has it, or 0. */
export function executeTableIn(words: Int32Array, set: number, low: number, high: number): number {
  const index = (set + tlb.executeOffset + executeOffset(low)) >> 2;
  const isThere = words[index] === (low & pageMask) && words[index + 1] === high;
  return isThere ? words[index + (tlb.table >> 2)] : 0;
}

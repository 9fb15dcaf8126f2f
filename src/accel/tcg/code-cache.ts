/**
 * Decoded code: records by guest physical page and mode.
 *
 * Records and entry tables come from one arena that is emptied as a whole.
 * A page that changes gets its records rewritten to `lookup`, so that whoever
 * still runs or links to them finds the new code by itself.
 */
import {
  decode,
  type Feature,
  type Instruction,
  type InstructionTable,
  modeBits,
  normalizeVariant,
  type OperandShape,
  operandShape,
  type ParsedRow,
  registerNumber,
  state,
  type Variant,
  variantKey,
} from '../../target/index.ts';
import { ops } from './interpreter.ts';
import { code, codeChanges, entryTable, record, recordIn } from './layout.ts';
import type { TcgMemory } from './memory.ts';
import type { TcgStatistics } from './statistics.ts';

/** What the interpreter has for an instruction: a case of its own, or a handler function. */
export interface HandlerReference {
  readonly op: number;
  readonly handler: number;
}

/** Where handlers come from. */
export interface HandlerSource {
  handler(parsed: ParsedRow, variant: Variant, key: string): HandlerReference;
  /** The case for two instructions run as one, or 0. */
  fused(firstKey: string, secondKey: string): number;
  /** Whether a case runs two instructions. */
  isPair(op: number): boolean;
}

/** A translated region: its function, the pages that its code is in, and the records that lead into it. */
export interface CodeRegion {
  readonly handler: number;
  readonly mode: number;
  /** Physical addresses. */
  readonly pages: readonly number[];
  /** Engine addresses; a record's place in the list is its `entry`. 0: it leads elsewhere. */
  readonly entries: readonly number[];
  /** Made with all that is known; not to be made anew when it is hot. */
  readonly isFinal: boolean;
}

interface CodePage {
  readonly physical: number;
  readonly mode: number;
  /** Engine address of the entry table. */
  readonly table: number;
  /** The regions that were translated from it. */
  readonly regions: Set<CodeRegion>;
  /** Engine addresses and counts of its records. */
  readonly records: { at: number; count: number }[];
  /** `stop` records of the page before whose instruction ends here. */
  readonly stops: number[];
}

/** What is known of a row in a variant once one such instruction was decoded. */
interface Resolved {
  readonly reference: HandlerReference;
  readonly key: string;
  /** A number for `key`. */
  readonly id: number;
  readonly shapes: readonly OperandShape[];
  readonly isBranch: boolean;
}

interface Run {
  readonly page: CodePage;
  readonly first: number;
  at: number;
  offset: number;
  /** The instruction before, when the next one may be fused with it. */
  previous: Resolved | undefined;
}

const maxBlock = 48;
const maxInstructionBytes = 15;
const pageSize = 4096;
/** So many-th of the regions are dropped at once. */
const evictedPart = 8;
/** Entry tables, chunks and records of a block and the like of it. */
const blockReserve = 2 * entryTable.size + maxBlock * (entryTable.chunkSize + 4 * record.size);
const firstFree = entryTable.emptyChunk + entryTable.chunkSize;

export class CodeCache {
  /** Instructions decoded so far. */
  decoded = 0;
  flushes = 0;
  private readonly memory: TcgMemory;
  private readonly view: DataView;
  private readonly words: Int32Array;
  private readonly table: InstructionTable;
  private readonly features: ReadonlySet<Feature>;
  private readonly handlers: HandlerSource;
  private readonly failures: { readonly undefinedOpcode: ParsedRow; readonly tooLong: ParsedRow };
  /** Tables and records are handed out from below, chunks of tables from above. */
  private next: number = firstFree;
  private isExhausted = false;
  private end: number = code.base + code.size;
  private pages = new Map<number, CodePage>();
  /** Modes in which a physical page has code. */
  private modesOf = new Map<number, CodePage[]>();
  /** Which bytes of a physical page are decoded: a bit a byte. */
  private covered = new Map<number, Uint8Array>();
  private crossing = new Map<string, number>();
  private pageOfTable = new Map<number, CodePage>();
  /** By the records that lead into them. */
  private regions = new Map<number, CodeRegion>();
  /** Those that there are, the one that was seen at work last at the end. */
  private readonly inUse = new Set<CodeRegion>();
  /** Copies of records that lead or led into regions. */
  private shadows = new Map<number, number>();
  private readonly scratch = new Uint8Array(32);
  /** What is being decoded of a page, in its place. */
  private readonly bytes = new Uint8Array(pageSize);
  /** By row. */
  private readonly resolved: Map<number, Resolved>[] = [];
  private readonly keyIds = new Map<string, number>();
  private readonly fusedOps = new Map<number, number>();

  constructor(
    memory: TcgMemory,
    table: InstructionTable,
    features: ReadonlySet<Feature>,
    handlers: HandlerSource,
    failures: CodeCache['failures'],
  ) {
    this.memory = memory;
    this.view = new DataView(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.table = table;
    this.features = features;
    this.handlers = handlers;
    this.failures = failures;
  }

  /** True when there is decoded code in the physical page: writes to it must be told. */
  hasCode(physicalPage: number): boolean {
    return this.covered.has(physicalPage);
  }

  /** True when the arena may not hold another block: call `flush` before decoding. */
  get full(): boolean {
    return this.isExhausted || this.next + blockReserve > this.end;
  }

  /** The translator has no room: all code is to be given up. */
  exhaust(): void {
    this.isExhausted = true;
  }

  /** Forgets all code. Only when none of it runs; the caller forgets the execute TLB. */
  flush(): void {
    for (const region of this.inUse) this.onRegionDropped(region);
    this.inUse.clear();
    this.regions.clear();
    this.shadows.clear();
    this.pageOfTable.clear();
    this.isExhausted = false;
    this.next = firstFree;
    this.end = code.base + code.size;
    this.pages.clear();
    this.modesOf.clear();
    this.covered.clear();
    this.crossing.clear();
    this.flushes++;
    Atomics.add(this.words, codeChanges >> 2, 1);
  }

  get statistics(): Pick<
    TcgStatistics,
    'decodedInstructions' | 'decodedPages' | 'codeBytes' | 'codeLimitBytes' | 'codeFlushes' | 'regions'
  > {
    return {
      decodedInstructions: this.decoded,
      decodedPages: this.pages.size,
      codeBytes: this.next - code.base + (code.base + code.size - this.end),
      codeLimitBytes: code.size,
      codeFlushes: this.flushes,
      regions: this.inUse.size,
    };
  }

  /** Entry table of a physical page for a mode, made if needed. */
  entryTable(physicalPage: number, mode: number): number {
    return this.page(physicalPage, mode).table;
  }

  /** Decodes the block that starts at `offset` of a page, unless it is there. */
  ensure(physicalPage: number, mode: number, offset: number): void {
    const page = this.page(physicalPage, mode);
    if (this.recordIn(page.table, offset) === 0) this.decodeBlock(page, offset);
  }

  /** The same, by the page's entry table. */
  ensureIn(table: number, offset: number): void {
    const page = this.pageOfTable.get(table);
    // A page without code is not guarded against writes.
    if (!page || this.full || !this.covered.has(page.physical)) return;
    if (this.recordIn(table, offset) === 0) this.decodeBlock(page, offset);
  }

  /** A write changed [base, base + length) of guest physical memory: drops the code of these bytes' pages. Returns true if there was any. */
  invalidate(base: number, length: number): boolean {
    let any = false;
    if (this.covered.size === 0) return false;
    const last = base + length - 1;
    if (length > pageSize * this.covered.size) {
      for (const page of [...this.covered.keys()])
        if (page + pageSize > base && page <= last) any = this.dropPage(page) || any;
      return any;
    }
    for (let page = base - (base % pageSize); page <= last; page += pageSize) {
      const bits = this.covered.get(page);
      if (bits && overlaps(bits, Math.max(base - page, 0), Math.min(last - page, pageSize - 1)))
        any = this.dropPage(page) || any;
    }
    return any;
  }

  /**
   * Record for an instruction that crosses into another page, followed by one
   * that goes on behind it. `bytes` are the instruction's, from both pages. The `stop` record at its start leads there
   * from now on.
   */
  crossingRecord(first: number, second: number, mode: number, offset: number, bytes: Uint8Array): number {
    const at = this.crossingAt(first, second, mode, offset, bytes);
    const stop = this.recordAt(first, mode, offset);
    // Each single step begins in the engine.
    if (mode & modeBits.step || this.view.getUint16(stop + record.op, true) !== ops.stop) return at;
    const behind = this.page(second, mode);
    if (this.view.getInt32(stop + record.target, true) === 0) behind.stops.push(stop);
    this.view.setInt32(stop + record.target, at, true);
    this.view.setInt32(stop + record.immediate, behind.table, true);
    return at;
  }

  private crossingAt(first: number, second: number, mode: number, offset: number, bytes: Uint8Array): number {
    const key = `${first},${second},${mode},${offset}`;
    const known = this.crossing.get(key);
    if (known !== undefined) return known;
    const page = this.page(first, mode);
    const at = this.next;
    this.scratch.set(bytes.subarray(0, 32));
    const instruction = decode(this.table, this.features, mode, this.scratch, 0, Math.min(bytes.length, 15));
    const length = this.writeInstruction(at, offset, instruction);
    this.writeSpecial(at + record.size, mode & modeBits.step ? ops.step : ops.lookup, offset + length, 0);
    this.next = at + 2 * record.size;
    page.records.push({ at, count: 2 });
    this.page(second, mode).records.push({ at, count: 2 });
    this.cover(first, offset, pageSize - 1);
    this.cover(second, 0, offset + length - 1 - pageSize);
    this.crossing.set(key, at);
    return at;
  }

  /** Called with each region that nothing leads into any more. */
  onRegionDropped: (region: CodeRegion) => void = () => {};

  /** The physical page of an entry table whose code was dropped `drops` times so far; undefined if that is not so. */
  pageOf(table: number, drops: number): number | undefined {
    const page = this.pageOfTable.get(table);
    return page && this.words[(table + entryTable.drops) >> 2] === drops ? page.physical : undefined;
  }

  /** Functions of string instructions with REP that were met so far, by key: row and variant. */
  readonly repeatHandlers: [key: string, handler: number][] = [];

  /** The record of the instruction at `offset`, or 0. */
  recordAt(physicalPage: number, mode: number, offset: number): number {
    return this.recordIn(this.page(physicalPage, mode).table, offset);
  }

  private recordIn(table: number, offset: number): number {
    return recordIn(this.words, table, offset);
  }

  /**
   * A copy of the record (and of the one it is fused with), followed by a link to the next one: the way to run an
   * instruction plainly whose own record will lead into a region, or does already.
   */
  shadow(physicalPage: number, mode: number, at: number): number {
    const known = this.shadows.get(at);
    if (known !== undefined) return known;
    const page = this.page(physicalPage, mode);
    const copy = this.next;
    this.shadows.set(at, copy);
    const count = this.handlers.isPair(this.view.getUint16(at + record.op, true)) ? 2 : 1;
    this.memory.bytes.copyWithin(copy, at, at + count * record.size);
    const last = copy + (count - 1) * record.size;
    // Where it leads is its own offset too: if the page changes, the link becomes a `lookup`.
    const end = this.view.getUint16(last + record.offset, true) + this.view.getUint8(last + record.length);
    this.writeSpecial(last + record.size, ops.link, end, at + count * record.size);
    this.next += (count + 1) * record.size;
    page.records.push({ at: copy, count: count + 1 });
    return copy;
  }

  /** The region that record `at` leads into. */
  regionAt(at: number): CodeRegion | undefined {
    return this.regions.get(at);
  }

  /** It is at work. */
  noteUse(region: CodeRegion): void {
    this.inUse.delete(region);
    this.inUse.add(region);
  }

  /** Makes room when there are as many regions as there may be: drops those that were not seen at work for longest. */
  evictRegions(most: number): void {
    if (this.inUse.size < most) return;
    const kept = most - Math.ceil(most / evictedPart);
    for (const region of [...this.inUse].slice(0, this.inUse.size - kept)) this.dropRegion(region);
  }

  /** From now on its entries, which have shadows, lead into the region, and not into one that they led into before. */
  installRegion(region: CodeRegion): void {
    for (const at of region.entries) if (at) this.dropRegion(this.regions.get(at));
    for (const physical of region.pages) this.page(physical, region.mode).regions.add(region);
    this.inUse.add(region);
    for (const [i, at] of region.entries.entries()) {
      if (!at) continue;
      this.regions.set(at, region);
      this.view.setUint16(at + record.op, ops.region, true);
      this.view.setUint16(at + record.handler, region.handler, true);
      this.view.setUint16(at + record.entry, i, true);
    }
  }

  private dropRegion(region: CodeRegion | undefined): void {
    if (!region) return;
    this.inUse.delete(region);
    for (const at of region.entries) {
      if (!at) continue;
      this.regions.delete(at);
      // Records of a page that changed are `lookup` by now, and stay so.
      if (this.view.getUint16(at + record.op, true) !== ops.region) continue;
      const shadow = this.shadows.get(at) as number;
      this.memory.bytes.copyWithin(at, shadow, shadow + record.displacement - record.op);
    }
    for (const physical of region.pages) this.page(physical, region.mode).regions.delete(region);
    this.onRegionDropped(region);
  }

  private page(physical: number, mode: number): CodePage {
    const key = physical * 256 + mode;
    let page = this.pages.get(key);
    if (!page) {
      page = { physical, mode, table: this.next, records: [], regions: new Set(), stops: [] };
      this.next += entryTable.size;
      this.words.fill(entryTable.emptyChunk, page.table >> 2, (page.table + entryTable.pointers) >> 2);
      this.view.setInt32(page.table + entryTable.host, this.memory.hostAddress(physical), true);
      this.view.setInt32(page.table + entryTable.mode, mode, true);
      this.view.setInt32(page.table + entryTable.drops, 0, true);
      this.pages.set(key, page);
      this.pageOfTable.set(page.table, page);
      const modes = this.modesOf.get(physical);
      if (modes) modes.push(page);
      else this.modesOf.set(physical, [page]);
    }
    return page;
  }

  private clearTable(table: number): void {
    for (let at = table >> 2; at < (table + entryTable.pointers) >> 2; at++) {
      const chunk = this.words[at];
      if (chunk !== entryTable.emptyChunk) this.words.fill(0, chunk >> 2, (chunk + entryTable.chunkSize) >> 2);
    }
    // At last: who has read the new count sees none of the old records.
    Atomics.add(this.words, (table + entryTable.drops) >> 2, 1);
  }

  private cover(physicalPage: number, first: number, last: number): void {
    let bits = this.covered.get(physicalPage);
    if (!bits) {
      bits = new Uint8Array(pageSize / 8);
      this.covered.set(physicalPage, bits);
    }
    for (let i = first; i <= last; i++) bits[i >> 3] |= 1 << (i & 7);
  }

  private dropPage(physicalPage: number): boolean {
    this.covered.delete(physicalPage);
    Atomics.add(this.words, codeChanges >> 2, 1);
    for (const page of this.modesOf.get(physicalPage) ?? []) {
      for (const { at, count } of page.records) {
        for (let i = 0; i < count; i++) this.view.setUint16(at + i * record.size + record.op, ops.lookup, true);
      }
      page.records.length = 0;
      for (const stop of page.stops) this.view.setInt32(stop + record.target, 0, true);
      page.stops.length = 0;
      for (const region of [...page.regions]) this.dropRegion(region);
      this.clearTable(page.table);
    }
    this.crossing.clear();
    return true;
  }

  private decodeBlock(page: CodePage, start: number): void {
    const { bytes } = this;
    const source = this.memory.hostAddress(page.physical);
    // Copied, because guest RAM is shared and decoding looks at a byte more than once.
    const behind = Math.min(start + maxBlock * maxInstructionBytes, pageSize);
    bytes.set(this.memory.bytes.subarray(source + start, source + behind), start);
    const run: Run = { page, first: this.next, at: this.next, offset: start, previous: undefined };
    const stepping = (page.mode & modeBits.step) !== 0;
    let shadow = -1;
    for (let n = 0; ; n++) {
      if (run.offset === pageSize || n === maxBlock) {
        this.emitSpecial(run, ops.lookup, 0);
        break;
      }
      const existing = n > 0 ? this.recordIn(page.table, run.offset) : 0;
      if (existing && shadow < 0) {
        this.emitSpecial(run, ops.link, existing);
        break;
      }
      const instruction = decode(this.table, this.features, page.mode, bytes, run.offset, pageSize);
      if (instruction === 'truncated') {
        const stop = run.at;
        this.emitSpecial(run, ops.stop, 0);
        this.enter(page.table, run.offset, stop);
        // These bytes may become a shorter instruction.
        run.offset = pageSize;
        break;
      }
      // A region may take the place of a record that is entered, and would not look for interrupts behind it.
      const ends = this.emitInstruction(run, instruction, shadow < 0);
      if (stepping && !ends) {
        this.emitSpecial(run, ops.step, 0);
        break;
      }
      if (ends) {
        // Helpers mostly jump, but some of these come back to the next instruction.
        if (typeof instruction !== 'string' && instruction.parsed.row.size64 !== 'branch')
          this.emitSpecial(run, stepping ? ops.step : ops.lookup, 0);
        break;
      }
      const row = typeof instruction === 'string' ? undefined : instruction.parsed.row;
      if (shadow >= 0) {
        this.emitSpecial(run, ops.check, 0);
        shadow = -1;
      } else if (row?.shadow) shadow = n;
    }
    page.records.push({ at: run.first, count: (run.at - run.first) / record.size });
    this.next = run.at;
    this.cover(page.physical, start, Math.min(run.offset, pageSize) - 1);
  }

  /**
   * From now on the instruction at an offset is reached by a record, which is complete, unless it has one already. The
   * compiling thread may read it at once.
   */
  private enter(table: number, offset: number, at: number): void {
    const { words } = this;
    const pointer = (table >> 2) + (offset >> entryTable.chunkShift);
    if (words[pointer] === entryTable.emptyChunk) {
      this.end -= entryTable.chunkSize;
      words.fill(0, this.end >> 2, (this.end + entryTable.chunkSize) >> 2);
      Atomics.store(words, pointer, this.end);
    }
    const entry = (words[pointer] >> 2) + (offset & (entryTable.chunkBytes - 1));
    if (!words[entry]) Atomics.store(words, entry, at);
  }

  private emitSpecial(run: Run, op: number, target: number): void {
    this.writeSpecial(run.at, op, run.offset, target);
    run.at += record.size;
    run.previous = undefined;
  }

  private writeSpecial(at: number, op: number, offset: number, target: number): void {
    this.memory.bytes.fill(0, at, at + record.size);
    this.view.setUint16(at + record.op, op, true);
    this.view.setUint16(at + record.offset, offset, true);
    this.view.setInt32(at + record.target, target, true);
  }

  /** Writes the next record of a block, and enters it if it may be come to; true when it ends the block. */
  private emitInstruction(
    run: Run,
    decoded: Instruction | 'undefined' | 'too-long' | 'truncated',
    isEntered: boolean,
  ): boolean {
    const length = this.writeInstruction(run.at, run.offset, decoded);
    if (isEntered) this.enter(run.page.table, run.offset, run.at);
    if (typeof decoded === 'string') {
      run.at += record.size;
      // All that may have made it undefined: a change there may define it.
      run.offset += maxInstructionBytes;
      return true;
    }
    const { last } = this;
    // What is fused ends in a branch.
    if (run.previous && last.isBranch) {
      const fused = this.fusedOp(run.previous, last);
      if (fused) this.view.setUint16(run.at - record.size + record.op, fused, true);
    }
    run.previous = last;
    if (last.isBranch) this.linkBranch(run);
    run.at += record.size;
    run.offset += length;
    return decoded.parsed.row.ends !== undefined;
  }

  /** A direct branch to code of this page that is decoded already goes there without a look-up. */
  private linkBranch(run: Run): void {
    const target = this.view.getInt32(run.at + record.branch, true);
    const known = target >= 0 && target < pageSize ? this.recordIn(run.page.table, target) : 0;
    this.view.setInt32(run.at + record.target, known, true);
  }

  /** Of the record written last. */
  private last!: Resolved;

  /** Fills the record at `at`; returns the instruction's length. */
  private writeInstruction(
    at: number,
    offset: number,
    decoded: Instruction | 'undefined' | 'too-long' | 'truncated',
  ): number {
    this.decoded++;
    const { view } = this;
    this.memory.bytes.fill(0, at, at + record.size);
    view.setUint16(at + record.offset, offset, true);
    if (typeof decoded === 'string') {
      const failure = decoded === 'undefined' ? this.failures.undefinedOpcode : this.failures.tooLong;
      this.setHandler(at, failure, {
        osize: 4,
        asize: 8,
        ssize: 8,
        memory: false,
        vl: 16,
        vex: false,
        w: false,
        rep: 0,
        long64: true,
        flat: true,
        ready: true,
      });
      view.setUint8(at + record.length, 1);
      return 1;
    }
    const { variant, length } = decoded;
    this.setHandler(at, decoded.parsed, variant);
    view.setUint8(at + record.length, length);
    const { shapes } = this.last;
    for (let i = 0; i < shapes.length && i < 4; i++)
      view.setUint16(at + record.registers + 2 * i, registerField(decoded, i, shapes[i]), true);
    view.setBigInt64(at + record.immediate, decoded.immediate, true);
    view.setInt32(at + record.immediate2, decoded.immediate2, true);
    view.setInt32(at + record.branch, (offset + length + Number(decoded.immediate)) | 0, true);
    this.writeMemoryOperand(at, offset + length, decoded);
    return length;
  }

  private setHandler(at: number, parsed: ParsedRow, variant: Variant): void {
    const { reference } = this.resolve(parsed, variant);
    this.view.setUint16(at + record.op, reference.op, true);
    this.view.setUint16(at + record.handler, reference.handler, true);
  }

  /** Leaves what is known of the row in this variant in `last`. */
  private resolve(parsed: ParsedRow, variant: Variant): Resolved {
    let variants = this.resolved[parsed.id];
    if (!variants) {
      variants = new Map();
      this.resolved[parsed.id] = variants;
    }
    const bits = variantBits(variant);
    let found = variants.get(bits);
    if (!found) {
      const normal = normalizeVariant(parsed, variant);
      const key = `${parsed.id}:${variantKey(normal)}`;
      const id = this.keyIds.get(key) ?? this.keyIds.size;
      this.keyIds.set(key, id);
      const reference = this.handlers.handler(parsed, normal, key);
      if (parsed.row.repeats && normal.rep) this.repeatHandlers.push([key, reference.handler]);
      found = {
        reference,
        key,
        id,
        shapes: parsed.operands.map((o) => operandShape(o, variant)),
        isBranch: parsed.operands.some((o) => o.type === 'J'),
      };
      variants.set(bits, found);
    }
    this.last = found;
    return found;
  }

  /** The case for two instructions run as one, or 0. */
  private fusedOp(first: Resolved, second: Resolved): number {
    const pair = first.id * 0x1_0000 + second.id;
    let fused = this.fusedOps.get(pair);
    if (fused === undefined) {
      fused = this.handlers.fused(first.key, second.key);
      this.fusedOps.set(pair, fused);
    }
    return fused;
  }

  private writeMemoryOperand(at: number, end: number, decoded: Instruction): void {
    const { view } = this;
    const { memory, segment, variant } = decoded;
    const zero = state.zero.offset;
    const hasBase = !variant.long64 || segment >= 4;
    view.setUint16(at + record.segmentBase, hasBase ? state.segments[segment].base.offset : zero, true);
    // For an instruction that only uses the stack, the segment tells #SS from #GP.
    const onStack = !memory && decoded.parsed.row.by?.includes('ssize');
    view.setUint8(at + record.segment, onStack ? 2 : segment);
    if (!memory) return;
    const base = memory.base >= 0 ? state.gpr[memory.base].offset : memory.base === -2 ? state.page.offset : zero;
    view.setUint16(at + record.base, base, true);
    view.setUint16(at + record.index, memory.index >= 0 ? state.gpr[memory.index].offset : zero, true);
    view.setUint8(at + record.scale, memory.scale);
    view.setBigInt64(at + record.displacement, BigInt(memory.displacement + (memory.base === -2 ? end : 0)), true);
    view.setBigInt64(at + record.mask, variant.asize === 8 ? -1n : variant.asize === 4 ? 0xffffffffn : 0xffffn, true);
    view.setUint16(at + record.vectorIndex, state.xmm[memory.vsib].offset, true);
  }
}

/** A number for each variant. */
function variantBits(v: Variant): number {
  const flags =
    (v.memory ? 1 : 0) |
    (v.vl === 32 ? 2 : 0) |
    (v.vex ? 4 : 0) |
    (v.w ? 8 : 0) |
    (v.long64 ? 16 : 0) |
    (v.flat ? 32 : 0) |
    (v.ready ? 64 : 0);
  return v.osize | (v.asize << 4) | (v.ssize << 8) | (v.rep << 12) | (flags << 14);
}

/** State offset of a register operand, or its number where the row wants a number. */
function registerField(decoded: Instruction, i: number, shape: OperandShape): number {
  const code = decoded.parsed.operands[i];
  switch (shape.kind) {
    case 'register': {
      const number = registerNumber(decoded, i);
      const high =
        shape.width === 1 &&
        !decoded.rex &&
        number >= 4 &&
        number < 8 &&
        !decoded.parsed.pattern.vex &&
        code.type !== 'reg';
      return high ? state.gpr[number - 4].offset + 1 : state.gpr[number].offset;
    }
    case 'vector':
      return state.xmm[code.type === 'reg' ? 0 : registerNumber(decoded, i)].offset;
    case 'mmx':
      return state.fprSignificand[registerNumber(decoded, i) & 7].offset;
    case 'number':
      return registerNumber(decoded, i);
    case 'x87':
      return code.size === 'STi' ? decoded.rm & 7 : 0;
    default:
      return 0;
  }
}

function overlaps(bits: Uint8Array, first: number, last: number): boolean {
  for (let i = first; i <= last; i++) if (bits[i >> 3] & (1 << (i & 7))) return true;
  return false;
}

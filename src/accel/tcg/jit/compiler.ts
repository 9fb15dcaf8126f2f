/**
 * Makes regions: finds their code, and emits the module of each. It reads the engine's memory (decoded code, the
 * guest's bytes, what earlier regions counted and saw) and changes nothing there but its own area, so that it can work
 * in a thread of its own while guest code runs: what it made holds if no page that it read was dropped meanwhile.
 */
import {
  decode,
  type Feature,
  type InstructionTable,
  type LibraryFunction,
  modeBits,
  normalVariant,
} from '../../../target/index.ts';
import { buildFunctionModule, type ModuleShape, trialLinks } from '../emit/module.ts';
import { codeChanges, entryTable, ramBase, record, recordIn, regionArea } from '../layout.ts';
import { executeTableIn } from '../tlb.ts';
import { RegionEmitter } from './emit-region.ts';
import { seenSlots } from './frame.ts';
import {
  branchTarget,
  findRegion,
  type InstructionSource,
  pageOf,
  type Region,
  type RegionInstruction,
} from './region.ts';
import { analyze, withDispatcher } from './structure.ts';

/** The most ways into a region. */
const maxEntries = 8;
/** What runs less often than the entry by this power of two is not taken in. */
const coldShift = 7;
/** The most pages of a region. */
const maxPages = 8;
const maxInstructionBytes = 15;

export interface CompilerOptions {
  readonly buffer: SharedArrayBuffer;
  readonly pages: ModuleShape['pages'];
  readonly table: InstructionTable;
  readonly features: ReadonlySet<Feature>;
  readonly libraries: ReadonlyMap<string, LibraryFunction>;
  /** Decodes what starts at a place of a page, if this is the thread that decodes. */
  readonly decodeAt?: (table: number, offset: number) => void;
}

/** What is to be translated. Addresses of tables, records and cells are those of the engine's memory. */
export interface CompileRequest {
  /** Changes when all code was forgotten. */
  readonly generation: number;
  readonly mode: number;
  /** Entry table of the page, and the place in it. */
  readonly table: number;
  readonly offset: number;
  /** Linear address of the page. */
  readonly low: number;
  readonly high: number;
  /** The TLB set in use. */
  readonly tlbSet: number;
  /** Take in what an earlier region counted and saw, calls and other pages. */
  readonly isFinal: boolean;
  /** String instructions that were met since the last request. */
  readonly repeatHandlers: readonly (readonly [key: string, handler: number])[];
}

export interface RegionCode {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The pages that were read, the entry's first. */
  readonly pages: readonly { readonly table: number; readonly drops: number }[];
  /** Records that lead into the region. */
  readonly entries: readonly number[];
  /** Where the region looks for the shadows of these: an i32 each. */
  readonly cells: number;
  /** Records of blocks whose runs are counted. */
  readonly counted: readonly number[];
  readonly instructionCount: number;
}

/** A page that a region may have code of. */
interface SourcePage {
  readonly table: number;
  readonly drops: number;
  /** Engine address of its bytes. */
  readonly host: number;
}

/** What a region is made from: its entry's page and place, and the other pages near it. */
interface Source extends InstructionSource {
  /** The page at a distance (a multiple of 4096) from the entry's, if code of it can be a part. */
  page(delta: number): SourcePage | undefined;
}

export class RegionCompiler {
  private readonly options: CompilerOptions;
  private readonly shape: ModuleShape;
  private readonly words: Int32Array;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly instructionBytes = new Uint8Array(maxInstructionBytes);
  private readonly emitter: RegionEmitter;
  private readonly repeatHandlers = new Map<string, number>();
  private readonly able = new Map<string, boolean>();
  /** Where the targets of indirect branches are remembered, by record. */
  private readonly seen = new Map<number, number>();
  private generation = -1;
  /** What is used of the area. */
  private areaEnd: number = regionArea.base;

  constructor(options: CompilerOptions) {
    const { buffer, pages, libraries } = options;
    this.options = options;
    this.shape = { pages, libraries };
    this.words = new Int32Array(buffer);
    this.view = new DataView(buffer);
    this.bytes = new Uint8Array(buffer);
    this.emitter = new RegionEmitter({ view: this.view, words: this.words, repeatHandlers: this.repeatHandlers });
  }

  /** Changes when code was dropped: what is made meanwhile may be anything, and of no use. */
  get changes(): number {
    return Atomics.load(this.words, codeChanges >> 2);
  }

  /** The region; 'refused' when there is nothing that can be translated, 'full' when all code must be forgotten first. */
  compile(request: CompileRequest): RegionCode | 'refused' | 'full' {
    // What this one was for has been forgotten.
    if (request.generation < this.generation) return 'refused';
    if (request.generation > this.generation) {
      this.generation = request.generation;
      this.areaEnd = regionArea.base;
      this.seen.clear();
    }
    for (const [key, handler] of request.repeatHandlers) this.repeatHandlers.set(key, handler);
    const source = this.source(request);
    const region = findRegion(request.offset, source);
    if (region.blocks[0].instructions.length === 0) return 'refused';
    const cells = this.allocate(maxEntries);
    return cells === 0 ? 'full' : this.build(request, region, source, cells);
  }

  private build({ mode, high, isFinal }: CompileRequest, region: Region, source: Source, cells: number): RegionCode {
    const { blocks, successors, instructionCount } = region;
    const recordOf = (block: number) => blocks[block].instructions[0].record;
    const loops = isFinal ? analyze(region).isLoopHeader : [];
    const extra = blocks.flatMap(({ offset, instructions }, i) =>
      i > 0 && loops[i] && instructions.length && pageOf(offset) === 0 ? [i] : [],
    );
    const blocksEntered = [0, ...extra.slice(0, maxEntries - 1)];
    const entries = blocksEntered.map(recordOf);
    const pageAt = (delta: number) => source.page(delta) as SourcePage;
    const bytes = buildFunctionModule(this.shape, (links) =>
      this.emitter.emit(links, {
        region,
        mode,
        isKernel: high < 0,
        dispatch: withDispatcher(successors, blocksEntered),
        counts: !isFinal,
        tableOf: (delta) => pageAt(delta).table,
        leaveAt: (at) => {
          const entry = entries.indexOf(at.record);
          return entry < 0 ? { record: at.record } : { cell: cells + 4 * entry };
        },
        seenAt: (at) => this.seenAt(at),
      }),
    );
    const deltas = new Set([0, ...blocks.map(({ offset }) => pageOf(offset))]);
    const pages = [...deltas].map((delta) => ({ table: pageAt(delta).table, drops: pageAt(delta).drops }));
    const counted = isFinal
      ? []
      : blocks.flatMap(({ instructions }) => instructions.slice(0, 1).map((at) => at.record));
    return { bytes, pages, entries, cells, counted, instructionCount };
  }

  /** `count` i32s of the area, all 0, or 0 when there is no more room. */
  private allocate(count: number): number {
    const at = this.areaEnd;
    if (at + 4 * count > regionArea.base + regionArea.size) return 0;
    this.areaEnd = at + 4 * count;
    this.words.fill(0, at >> 2, this.areaEnd >> 2);
    return at;
  }

  private read(table: number): SourcePage {
    const drops = Atomics.load(this.words, (table + entryTable.drops) >> 2);
    return { table, drops, host: this.view.getUint32(table + entryTable.host, true) };
  }

  /**
   * The instruction at an offset of a page, which has a record. Its bytes are read now that it has: as long as the
   * page's code is not dropped, they are those that the record was made from. Before, they may have been others.
   */
  private decode({ host }: SourcePage, mode: number, offset: number): ReturnType<typeof decode> {
    const { table, features } = this.options;
    const length = Math.min(maxInstructionBytes, 4096 - offset);
    this.instructionBytes.set(this.bytes.subarray(host + offset, host + offset + length));
    return decode(table, features, mode, this.instructionBytes, 0, length);
  }

  private source({ table: first, mode, low, high, tlbSet, isFinal, offset: entry }: CompileRequest): Source {
    const { decodeAt } = this.options;
    const pages = new Map<number, SourcePage | undefined>([[0, this.read(first)]]);
    const page = (delta: number): SourcePage | undefined => {
      if (!pages.has(delta)) pages.set(delta, isFinal && mode & modeBits.long64 ? near(delta) : undefined);
      return pages.get(delta);
    };
    const near = (delta: number): SourcePage | undefined => {
      const sum = (low >>> 0) + delta;
      // The high half stays: regions do not reach over 4 GiB.
      if (sum < 0 || sum > 0xffff_ffff || pages.size >= maxPages) return undefined;
      const found = executeTableIn(this.words, tlbSet, sum | 0, high);
      // Read while it changes, an entry of the TLB may name anything.
      if (found < entryTable.emptyChunk || found >= regionArea.base || found % 4) return undefined;
      if (this.view.getUint32(found + entryTable.host, true) < ramBase) return undefined;
      return this.view.getInt32(found + entryTable.mode, true) === mode ? this.read(found) : undefined;
    };
    const known = new Map<number, RegionInstruction | undefined>();
    const instruction = (offset: number): RegionInstruction | undefined => {
      if (!known.has(offset)) known.set(offset, find(offset));
      return known.get(offset);
    };
    const find = (offset: number): RegionInstruction | undefined => {
      const delta = pageOf(offset);
      const from = page(delta);
      if (!from) return undefined;
      decodeAt?.(from.table, offset - delta);
      const found = recordIn(this.words, from.table, offset - delta);
      // What was never decoded was never run.
      if (found <= 0) return undefined;
      const decoded = this.decode(from, mode, offset - delta);
      if (typeof decoded === 'string') return undefined;
      const at = { offset, instruction: decoded, record: found };
      return this.isAble(at) ? at : undefined;
    };
    const seenTargets = (at: RegionInstruction): number[] => {
      const slots = this.seen.get(at.record);
      if (!isFinal || slots === undefined) return [];
      const found = Array.from({ length: seenSlots }, (_, i) => this.view.getUint32(slots + 4 * i, true));
      return found.filter((x) => x !== 0).map((x) => x - (low >>> 0));
    };
    const runsOf = (at: RegionInstruction | undefined) => (at ? this.view.getInt32(at.record + record.runs, true) : 0);
    const least = isFinal ? (runsOf(instruction(entry)) >> coldShift) + 1 : 0;
    const isCold = (offset: number): boolean => {
      const runs = isFinal ? runsOf(instruction(offset)) : 0;
      return runs > 0 && runs <= least;
    };
    return { page, instruction, isCold, seenTargets };
  }

  private seenAt(at: RegionInstruction): number {
    const { row } = at.instruction.parsed;
    if (row.ends !== true || !at.instruction.variant.long64 || branchTarget(at) !== undefined) return 0;
    let slots = this.seen.get(at.record);
    if (slots === undefined) {
      slots = this.allocate(seenSlots);
      this.seen.set(at.record, slots);
    }
    return slots;
  }

  /** Whether an instruction can be part of a region; found out once for its row and variant. */
  private isAble(at: RegionInstruction): boolean {
    const { parsed, variant } = at.instruction;
    const { row } = parsed;
    if (row.shadow === true || (row.ends === true && row.size64 !== 'branch')) return false;
    const { key } = normalVariant(parsed, variant);
    let able = this.able.get(key);
    if (able === undefined) {
      able = this.emitter.canEmit(trialLinks(this.shape), at);
      this.able.set(key, able);
    }
    return able;
  }
}

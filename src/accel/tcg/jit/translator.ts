/**
 * The translator tier: hot code becomes WebAssembly functions, a region each.
 *
 * What is hot is found by sampling: the interpreter's time slices end at taken
 * branches, and a target that is met again and again is where time is spent.
 * A region's entry record gets the case `region`; everything that a region can
 * not do it leaves to the interpreter (see builder.ts).
 */
import {
  add,
  and,
  decode,
  type Expr,
  eqz,
  type Feature,
  fastRounding,
  type InstructionTable,
  i32,
  i64,
  ltS,
  modeBits,
  ne,
  normalVariant,
  state,
  sub,
  type ValueType,
} from '../../../target/index.ts';
import type { CodeCache } from '../code-cache.ts';
import type { Links } from '../emit/builder.ts';
import { handlerType, status } from '../emit/core-types.ts';
import { noKnowledge, type Sequence } from '../emit/handler.ts';
import { emitInstruction, emitLookup, type Interpreter, isMapped, ops } from '../interpreter.ts';
import { record, stateBase } from '../layout.ts';
import type { TcgMemory } from '../memory.ts';
import type { TcgStatistics } from '../statistics.ts';
import { FunctionEmitter, type Label } from '../wasm/function.ts';
import type { FunctionBody } from '../wasm/writer.ts';
import { RegionBuilder, type RegionControl, RegionFrame, seenSlots, Untranslatable } from './builder.ts';
import {
  branchTarget,
  findRegion,
  type InstructionSource,
  pageOf,
  type Region,
  type RegionInstruction,
} from './region.ts';
import { analyze, type Dispatch, withDispatcher } from './structure.ts';

/** Samples at one target before it is translated, and before that is done again with all that has been seen. */
const hotSamples = 2;
const hotterSamples = 16;
/** Targets that are watched; beyond that the counts start again. */
const maxWatched = 4096;
/** The most ways into a region. */
const maxEntries = 8;
/** What runs less often than the entry by this power of two is not taken in. */
const coldShift = 7;
/** A region's value for `result` that means: go to the record at this address less the mark, which is in the page. */
const recordMark = 2;
/** The most pages of a region. */
const maxPages = 8;
const zero = i32(0);

/** The translator's figures since the start. */
type TranslatorStatistics = {
  -readonly [K in
    | 'translations'
    | 'retranslations'
    | 'translatedInstructions'
    | 'refusedTranslations'
    | 'translationMillis']: TcgStatistics[K];
};

export const noTranslations: Readonly<TranslatorStatistics> = {
  translations: 0,
  retranslations: 0,
  translatedInstructions: 0,
  refusedTranslations: 0,
  translationMillis: 0,
};

export interface TranslatorParts {
  readonly memory: TcgMemory;
  readonly table: InstructionTable;
  readonly features: ReadonlySet<Feature>;
  readonly code: CodeCache;
  readonly interpreter: Interpreter;
  /** The host's clock. */
  monotonicNanos(): number;
  /** Entry table of the page at a linear address, or 0 where nothing was executed of late. */
  executeTable(low: number, high: number): number;
}

/** A page that a region may have code of. */
interface SourcePage {
  readonly physical: number;
  readonly table: number;
  readonly bytes: Uint8Array;
}

/** What a region is made from: its entry's page and place, and the other pages near it. */
interface Source extends InstructionSource {
  readonly mode: number;
  /** Its entry is in the upper half of the address space. */
  readonly isKernel: boolean;
  /** The page at a distance (a multiple of 4096) from the entry's, if code of it can be a part. */
  page(delta: number): SourcePage | undefined;
}

export class Translator {
  readonly statistics: TranslatorStatistics = { ...noTranslations };
  private readonly samples = new Map<number, number>();
  private readonly able = new Map<string, boolean>();
  /** Where the targets of indirect branches are remembered, by record. */
  private readonly seen = new Map<number, number>();
  private readonly parts: TranslatorParts;
  private readonly view: DataView;
  private readonly atOnce: boolean;

  /** @param atOnce everything is translated when it is first run */
  constructor(parts: TranslatorParts, atOnce: boolean) {
    this.parts = parts;
    this.atOnce = atOnce;
    this.view = new DataView(parts.memory.buffer);
    parts.code.onRegionDropped = (region) => parts.interpreter.removeHandler(region.handler);
  }

  /** A time slice ended at the instruction of a record; true when it is hot and there is something to translate. */
  sample(entryRecord: number): boolean {
    const region = this.parts.code.regionAt(entryRecord);
    if (region?.isFinal) return false;
    const count = (this.samples.get(entryRecord) ?? 0) + 1;
    if (this.samples.size >= maxWatched) this.samples.clear();
    this.samples.set(entryRecord, count);
    return count === (this.atOnce ? 1 : region ? hotSamples + hotterSamples : hotSamples);
  }

  /** All code is gone. */
  forget(): void {
    this.samples.clear();
    this.seen.clear();
  }

  /**
   * Translates the region at a linear address, whose page with code is `physicalPage`, unless that was done. The first
   * time it is what is reached within the page; when that turns out to be hot, calls and returns and other pages are
   * taken in, as they were seen meanwhile.
   */
  translate(physicalPage: number, mode: number, low: number, high: number): void {
    if ((mode & (modeBits.flat | modeBits.step)) !== modeBits.flat) return;
    const { code, interpreter } = this.parts;
    if (code.full || !interpreter.hasRoom) return;
    const offset = low & 0xfff;
    code.ensure(physicalPage, mode, offset);
    const entryRecord = code.recordAt(physicalPage, mode, offset);
    const before = code.regionAt(entryRecord);
    if (before?.isFinal) return;
    const isFinal = before !== undefined;
    const { monotonicNanos } = this.parts;
    const start = monotonicNanos();
    const source = this.source(physicalPage, mode, low & ~0xfff, high, isFinal, entryRecord);
    const region = findRegion(offset, source);
    if (region.blocks[0].instructions.length === 0) {
      this.statistics.refusedTranslations++;
      return;
    }
    this.install(region, source, isFinal);
    this.statistics.translations++;
    if (isFinal) this.statistics.retranslations++;
    this.statistics.translatedInstructions += region.instructionCount;
    this.statistics.translationMillis += (monotonicNanos() - start) / 1e6;
  }

  private install(region: Region, source: Source, isFinal: boolean): void {
    const { code, interpreter } = this.parts;
    const { mode } = source;
    const recordOf = (block: number) => region.blocks[block].instructions[0].record;
    const loops = isFinal ? analyze(region).isLoopHeader : [];
    const extra = region.blocks.flatMap(({ offset, instructions }, i) =>
      i > 0 && loops[i] && instructions.length && pageOf(offset) === 0 && !code.regionAt(recordOf(i))?.isFinal
        ? [i]
        : [],
    );
    const entries = [0, ...extra.slice(0, maxEntries - 1)];
    const here = source.page(0) as SourcePage;
    const shadows = new Map(entries.map((i) => [recordOf(i), code.shadow(here.physical, mode, recordOf(i))]));
    const deltas = new Set(region.blocks.map((b) => pageOf(b.offset)));
    const pages = [...deltas].map((delta) => (source.page(delta) as SourcePage).physical);
    const plan: Plan = {
      region,
      source,
      dispatch: withDispatcher(region.successors, entries),
      counts: !isFinal,
      leaveAt: (at) => shadows.get(at.record) ?? at.record,
    };
    if (plan.counts) {
      for (const { instructions } of region.blocks)
        if (instructions.length) this.view.setInt32(instructions[0].record + record.runs, 1, true);
    }
    const handler = interpreter.addFunction((links) => this.emit(links, plan));
    code.installRegion({ handler, mode, pages: [...new Set(pages)], entries: entries.map(recordOf), isFinal });
  }

  private source(
    physical: number,
    mode: number,
    low: number,
    high: number,
    beyond: boolean,
    entryRecord: number,
  ): Source {
    const { memory, code, table, features } = this.parts;
    const pages = new Map<number, SourcePage | undefined>();
    const read = (page: number): SourcePage => {
      const start = memory.hostAddress(page);
      return { physical: page, table: code.entryTable(page, mode), bytes: memory.bytes.slice(start, start + 4096) };
    };
    pages.set(0, read(physical));
    const page = (delta: number): SourcePage | undefined => {
      if (!pages.has(delta)) pages.set(delta, beyond && mode & modeBits.long64 ? near(delta) : undefined);
      return pages.get(delta);
    };
    const near = (delta: number): SourcePage | undefined => {
      const sum = (low >>> 0) + delta;
      // The high half stays: regions do not reach over 4 GiB.
      if (sum < 0 || sum > 0xffff_ffff || pages.size >= maxPages) return undefined;
      const entryTable = this.parts.executeTable(sum | 0, high);
      const found = entryTable === 0 ? undefined : code.pageWithTable(entryTable);
      return found?.mode === mode ? read(found.physical) : undefined;
    };
    const known = new Map<number, RegionInstruction | undefined>();
    const instruction = (offset: number): RegionInstruction | undefined => {
      if (!known.has(offset)) known.set(offset, decodeAt(offset));
      return known.get(offset);
    };
    const decodeAt = (offset: number): RegionInstruction | undefined => {
      const delta = pageOf(offset);
      const from = code.full ? undefined : page(delta);
      if (!from) return undefined;
      const decoded = decode(table, features, mode, from.bytes, offset - delta, 4096);
      if (typeof decoded === 'string') return undefined;
      code.ensure(from.physical, mode, offset - delta);
      const at = { offset, instruction: decoded, record: code.recordAt(from.physical, mode, offset - delta) };
      return this.isAble(at) ? at : undefined;
    };
    const seenTargets = (at: RegionInstruction): number[] => {
      const slots = this.seen.get(at.record);
      if (!beyond || slots === undefined) return [];
      const found = Array.from({ length: seenSlots }, (_, i) => this.view.getUint32(slots + 4 * i, true));
      return found.filter((x) => x !== 0).map((x) => x - (low >>> 0));
    };
    const least = (this.view.getInt32(entryRecord + record.runs, true) >> coldShift) + 1;
    const isCold = (offset: number): boolean => {
      const at = beyond ? instruction(offset) : undefined;
      const runs = at ? this.view.getInt32(at.record + record.runs, true) : 0;
      return runs > 0 && runs <= least;
    };
    return { mode, isKernel: high < 0, page, instruction, isCold, seenTargets };
  }

  /** Where an indirect branch's targets are remembered; 0 for other instructions. */
  private seenAt(at: RegionInstruction): number {
    const { row } = at.instruction.parsed;
    if (row.ends !== true || !at.instruction.variant.long64 || branchTarget(at) !== undefined) return 0;
    let slots = this.seen.get(at.record);
    if (slots === undefined) {
      slots = this.parts.code.full ? 0 : this.parts.code.allocate(4 * seenSlots);
      this.seen.set(at.record, slots);
    }
    return slots;
  }

  /** Whether the row's semantics, in this variant, can be part of a region; found out once by emitting it. */
  private isAble(at: RegionInstruction): boolean {
    const { parsed, variant } = at.instruction;
    const { row } = parsed;
    if (row.shadow === true || (row.ends === true && row.size64 !== 'branch')) return false;
    const { key } = normalVariant(parsed, variant);
    let able = this.able.get(key);
    if (able === undefined) {
      able = this.tryEmit(at);
      this.able.set(key, able);
    }
    return able;
  }

  private tryEmit(at: RegionInstruction): boolean {
    const f = new FunctionEmitter(handlerType.params);
    const links: Links = this.parts.interpreter.trialLinks();
    try {
      f.block((exit) => {
        this.emitOne(
          f,
          links,
          at,
          at.record,
          { frame: new RegionFrame(f), exit, delta: 0, goTo: () => {}, targets: [], seen: 0 },
          noKnowledge(),
        );
      });
      return true;
    } catch (e) {
      if (e instanceof Untranslatable) return false;
      throw e;
    }
  }

  private emitOne(
    f: FunctionEmitter,
    links: Links,
    at: RegionInstruction,
    leaveAddress: number,
    control: RegionControl,
    sequence: Sequence,
  ): void {
    const { parsed, variant } = at.instruction;
    const { variant: normal } = normalVariant(parsed, variant);
    const b = new RegionBuilder(f, links, parsed, normal, this.view, at.record, leaveAddress, control, sequence);
    if (parsed.row.repeats && normal.rep) b.repeatByHandler(this.parts.code.handlerOf(parsed, normal));
    else emitInstruction(b, parsed);
  }

  private emit(links: Links, plan: Plan): FunctionBody {
    const f = new FunctionEmitter(handlerType.params);
    const frame = new RegionFrame(f);
    frame.fillsTlb = plan.source.isKernel;
    const load = (offset: number, type: ValueType) => f.loadRaw(zero, stateBase + offset, type, 8);
    f.block((exit) => this.emitBlocks(f, links, plan, frame, exit));
    frame.storeWritten((offset, value) => f.storeRaw(zero, stateBase + offset, value, 8));
    f.storeRaw(zero, stateBase + state.budget.offset, frame.budget, 4);
    this.emitChain(f, links, frame);
    f.expr(frame.result);
    // What the blocks use is known now.
    f.prepend(() => {
      f.set(frame.page, load(state.page.offset, 'i64'));
      f.set(frame.tlb, load(state.tlbBase.offset, 'i32'));
      f.set(frame.budget, load(state.budget.offset, 'i32'));
      if (frame.usesFloats) f.set(frame.roundsFast, fastRounding(load(state.mxcsr.offset, 'i32')));
      frame.loadAll(load);
      frame.setConstants();
    });
    return f.finish();
  }

  /** Goes straight on in the region where `result` leads, if there is one; else falls through to the interpreter's loop. */
  private emitChain(f: FunctionEmitter, links: Links, frame: RegionFrame): void {
    const { result } = frame;
    const next = f.lasting('i32');
    f.block((miss) => {
      f.if(
        and(result, i32(recordMark)),
        () => {
          f.set(result, sub(result, i32(recordMark)));
          f.set(next, result);
        },
        () => {
          f.branchIf(ne(result, i32(status.jump)), miss);
          emitLookup(f, next, () => f.branch(miss));
        },
      );
      // Counted also when what is there is not translated, so that it is when it is hot.
      f.set(frame.budget, sub(frame.budget, i32(1)));
      f.storeRaw(zero, stateBase + state.budget.offset, frame.budget, 4);
      f.branchIf(ltS(frame.budget, zero), miss);
      f.branchIf(ne(f.loadRaw(next, record.op, 'i32', 2), i32(ops.region)), miss);
      f.returnCallIndirect(links.handlerType, f.loadRaw(next, record.handler, 'i32', 2), [next]);
    });
  }

  private emitBlocks(f: FunctionEmitter, links: Links, plan: Plan, frame: RegionFrame, exit: Label): void {
    const { region, source, dispatch } = plan;
    const { structure } = dispatch;
    const labels = new Map<number, Label>();
    const loops = new Map<number, Label>();
    /** The dispatcher's target. */
    const choice = f.lasting('i32');
    if (dispatch.dispatcher >= 0) f.set(choice, f.loadRaw(f.param(0), record.entry, 'i32', 2));

    const leaveFor = (from: number, offset: number): void => {
      const delta = pageOf(offset);
      const at = delta === from ? (source.page(delta) as SourcePage) : undefined;
      const to = at ? this.parts.code.recordIn(at.table, offset - delta) : 0;
      if (to) {
        if (delta) f.storeRaw(zero, stateBase + state.page.offset, add(frame.page, i64(delta)), 8);
        f.set(frame.result, i32(to + recordMark));
      } else {
        const target: Expr = add(frame.page, i64(offset));
        const wrapped = source.mode & modeBits.long64 ? target : and(target, i64(0xffffffffn));
        f.storeRaw(zero, stateBase + state.linear.offset, wrapped, 8);
        f.set(frame.result, i32(status.jump));
      }
      f.branch(exit);
    };
    const goTo = (from: number, offset: number, sequence: Sequence): void => {
      const to = region.blockAt.get(offset);
      const here = pageOf(region.blocks[from].offset);
      if (to === undefined || !region.successors[from].includes(to)) {
        leaveFor(here, offset);
        return;
      }
      const delta = pageOf(offset);
      if (delta !== here) {
        const { table } = source.page(delta) as SourcePage;
        f.ifUnlikely(eqz(isMapped(f, f.let(add(frame.page, i64(delta))), table)), () => leaveFor(here, offset));
      }
      const isDispatched = dispatch.isDispatched(from, to);
      if (isDispatched || structure.isBackEdge(from, to)) this.emitBudget(f, frame, () => leaveFor(delta, offset));
      if (isDispatched) {
        f.set(choice, i32(dispatch.targets.indexOf(to)));
        f.branch(loops.get(dispatch.dispatcher) as Label);
      } else if (structure.isBackEdge(from, to)) f.branch(loops.get(to) as Label);
      else if (structure.isMerge[to]) f.branch(labels.get(to) as Label);
      else tree(to, { known: sequence.known, tame: new Map(sequence.tame) });
    };
    const tree = (node: number, sequence: Sequence): void => {
      const isLoop = structure.isLoopHeader[node];
      const body = () => within(node, structure.mergeChildren[node].length - 1, isLoop ? noKnowledge() : sequence);
      if (isLoop) {
        f.loop((label) => {
          loops.set(node, label);
          body();
        });
      } else body();
    };
    const within = (node: number, last: number, sequence: Sequence): void => {
      if (last < 0) {
        block(node, sequence);
        return;
      }
      const merge = structure.mergeChildren[node][last];
      f.block((label) => {
        labels.set(merge, label);
        within(node, last - 1, sequence);
      });
      tree(merge, noKnowledge());
    };
    const block = (node: number, sequence: Sequence): void => {
      if (node === dispatch.dispatcher) {
        const choices = dispatch.targets.map((to) => labels.get(to) as Label);
        f.branchTable(choice, choices, choices[0]);
        return;
      }
      f.inScope(() => this.emitBlock(f, links, plan, node, sequence, { frame, exit, goTo }));
    };
    tree(Math.max(dispatch.dispatcher, 0), noKnowledge());
  }

  private emitBlock(
    f: FunctionEmitter,
    links: Links,
    { region, counts, leaveAt }: Plan,
    node: number,
    sequence: Sequence,
    { frame, exit, goTo }: BlockFrame,
  ): void {
    const block = region.blocks[node];
    const delta = pageOf(block.offset);
    const follow = (offset: number) => goTo(node, offset, sequence);
    if (counts && block.instructions.length) {
      const at = i32(block.instructions[0].record);
      f.storeRaw(at, record.runs, add(f.loadRaw(at, record.runs, 'i32', 4), i32(1)), 4);
    }
    for (const at of block.instructions) {
      const isLast = at === block.instructions.at(-1);
      const targets = isLast ? block.targets : [];
      const control = { frame, exit, delta, goTo: follow, targets, seen: isLast ? this.seenAt(at) : 0 };
      this.emitOne(f, links, at, leaveAt(at), control, sequence);
    }
    if (block.fallThrough !== undefined) follow(block.fallThrough);
  }

  /** A look at the budget, as every taken branch of the interpreter has one. */
  private emitBudget(f: FunctionEmitter, { budget }: RegionFrame, leave: () => void): void {
    f.set(budget, sub(budget, i32(1)));
    f.ifUnlikely(ltS(budget, i32(0)), leave);
  }
}

/** A region about to be emitted. */
interface Plan {
  readonly region: Region;
  readonly source: Source;
  readonly dispatch: Dispatch;
  /** Count how often blocks run. */
  readonly counts: boolean;
  /** The record that the interpreter goes on with when an instruction leaves. */
  leaveAt(at: RegionInstruction): number;
}

interface BlockFrame {
  readonly frame: RegionFrame;
  readonly exit: Label;
  goTo(from: number, offset: number, sequence: Sequence): void;
}

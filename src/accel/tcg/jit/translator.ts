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
  eq,
  type Feature,
  type InstructionTable,
  i32,
  i64,
  ltS,
  modeBits,
  ne,
  normalizeVariant,
  state,
  sub,
  variantKey,
} from '../../../target/index.ts';
import type { CodeCache } from '../code-cache.ts';
import type { Links } from '../emit/builder.ts';
import { handlerType, status } from '../emit/core-types.ts';
import type { Sequence } from '../emit/handler.ts';
import { emitInstruction, emitLookup, type Interpreter, ops } from '../interpreter.ts';
import { record, stateBase } from '../layout.ts';
import type { TcgMemory } from '../memory.ts';
import { FunctionEmitter, type Label } from '../wasm/function.ts';
import { RegionBuilder, type RegionControl, RegionFrame, Untranslatable } from './builder.ts';
import { type BasicBlock, findRegion, type Region, type RegionInstruction } from './region.ts';
import { analyze } from './structure.ts';

/** Samples at one target before it is translated. */
const hotSamples = 2;
/** Targets that are watched; beyond that the counts start again. */
const maxWatched = 4096;
/** Regions of fewer instructions are not worth entering. */
const minInstructions = 1;
const zero = i32(0);

/** The translator's figures since the start. */
export interface TranslatorStatistics {
  regions: number;
  instructions: number;
  emitMillis: number;
  refused: number;
}

export class Translator {
  readonly statistics: TranslatorStatistics = { regions: 0, instructions: 0, emitMillis: 0, refused: 0 };
  private readonly samples = new Map<number, number>();
  private readonly able = new Map<string, boolean>();
  private readonly memory: TcgMemory;
  private readonly view: DataView;
  private readonly table: InstructionTable;
  private readonly features: ReadonlySet<Feature>;
  private readonly code: CodeCache;
  private readonly interpreter: Interpreter;

  constructor(
    memory: TcgMemory,
    table: InstructionTable,
    features: ReadonlySet<Feature>,
    code: CodeCache,
    interpreter: Interpreter,
  ) {
    this.memory = memory;
    this.view = new DataView(memory.buffer);
    this.table = table;
    this.features = features;
    this.code = code;
    this.interpreter = interpreter;
    code.onRegionsDropped = (handlers) => {
      for (const handler of handlers) interpreter.removeHandler(handler);
    };
  }

  /**
   * A time slice ended at the instruction at `offset` of a page with code; true
   * when it is hot and not translated yet.
   */
  sample(entryRecord: number): boolean {
    if (this.view.getUint16(entryRecord + record.op, true) === ops.region) return false;
    const count = (this.samples.get(entryRecord) ?? 0) + 1;
    if (this.samples.size >= maxWatched) this.samples.clear();
    this.samples.set(entryRecord, count);
    return count === hotSamples;
  }

  /** All code is gone. */
  forget(): void {
    this.samples.clear();
  }

  /** Translates the region at `offset` of a physical page with code, unless that was done. */
  translate(physicalPage: number, mode: number, offset: number): void {
    if ((mode & (modeBits.flat | modeBits.step)) !== modeBits.flat) return;
    if (this.code.full || !this.interpreter.hasRoom) return;
    this.code.ensure(physicalPage, mode, offset);
    const entryRecord = this.code.recordAt(physicalPage, mode, offset);
    if (this.view.getUint16(entryRecord + record.op, true) === ops.region) return;
    const source = this.instructionSource(physicalPage, mode);
    const region = findRegion(offset, source);
    if (region.blocks[0].instructions.length === 0 || region.instructionCount < minInstructions) {
      this.statistics.refused++;
      return;
    }
    const shadow = this.code.shadow(physicalPage, mode, entryRecord);
    const leaveAt = (at: RegionInstruction) => (at.record === entryRecord ? shadow : at.record);
    const handler = this.interpreter.addFunction((links) => {
      const trial = this.emit(links, region, leaveAt, undefined);
      return this.emit(links, region, leaveAt, trial.frame).f.finish();
    });
    this.code.installRegion(physicalPage, mode, entryRecord, handler);
    this.statistics.regions++;
    this.statistics.instructions += region.instructionCount;
  }

  private instructionSource(physicalPage: number, mode: number): (offset: number) => RegionInstruction | undefined {
    const start = this.memory.hostAddress(physicalPage);
    const bytes = this.memory.bytes.slice(start, start + 4096);
    return (offset) => {
      if (offset >= 4096 || this.code.full) return undefined;
      const instruction = decode(this.table, this.features, mode, bytes, offset, 4096);
      if (typeof instruction === 'string') return undefined;
      this.code.ensure(physicalPage, mode, offset);
      const at = { offset, instruction, record: this.code.recordAt(physicalPage, mode, offset) };
      return this.isAble(at) ? at : undefined;
    };
  }

  /** Whether the row's semantics, in this variant, can be part of a region; found out once by emitting it. */
  private isAble(at: RegionInstruction): boolean {
    const { parsed, variant } = at.instruction;
    const { row } = parsed;
    if (row.shadow || (row.ends && row.size64 !== 'branch')) return false;
    const normal = normalizeVariant(parsed, variant);
    const key = `${parsed.id}:${variantKey(normal)}`;
    let able = this.able.get(key);
    if (able === undefined) {
      able = this.tryEmit(at);
      this.able.set(key, able);
    }
    return able;
  }

  private tryEmit(at: RegionInstruction): boolean {
    const f = new FunctionEmitter(handlerType.params);
    const links: Links = this.interpreter.trialLinks();
    try {
      f.block((exit) => {
        this.emitOne(
          f,
          links,
          at,
          at.record,
          { frame: new RegionFrame(f), exit, goTo: () => {} },
          { known: undefined },
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
    const normal = normalizeVariant(parsed, variant);
    emitInstruction(
      new RegionBuilder(f, links, parsed, normal, this.view, at.record, leaveAddress, control, sequence),
      parsed,
    );
  }

  /** Emits the region's function; `known` is the frame of an earlier emission, which says what to load and store. */
  private emit(
    links: Links,
    region: Region,
    leaveAt: (at: RegionInstruction) => number,
    known: RegionFrame | undefined,
  ): { f: FunctionEmitter; frame: RegionFrame } {
    const f = new FunctionEmitter(handlerType.params);
    const frame = new RegionFrame(f);
    const field = (x: { offset: number; type: 'i32' | 'i64' | 'f32' | 'f64' | 'v128' }) =>
      f.loadRaw(zero, stateBase + x.offset, x.type, 8);
    f.set(frame.page, field(state.page));
    f.set(frame.tlb, field(state.tlbBase));
    if (known) frame.loadAll(known, (offset, type) => f.loadRaw(zero, stateBase + offset, type, 8));
    f.block((exit) => this.emitBlocks(f, links, region, leaveAt, frame, exit));
    if (known) frame.storeWritten(known, (offset, value) => f.storeRaw(zero, stateBase + offset, value, 8));
    f.if(eq(frame.result, i32(status.jump)), () => this.emitChain(f, links));
    f.expr(frame.result);
    return { f, frame };
  }

  /** Goes straight on in the region at state `linear`, if there is one; else falls through to the interpreter's loop. */
  private emitChain(f: FunctionEmitter, links: Links): void {
    const next = f.lasting('i32');
    f.block((miss) => {
      emitLookup(f, next, () => f.branch(miss));
      f.branchIf(ne(f.loadRaw(next, record.op, 'i32', 2), i32(ops.region)), miss);
      this.emitBudget(f, () => f.branch(miss));
      f.returnCallIndirect(links.handlerType, f.loadRaw(next, record.handler, 'i32', 2), [next]);
    });
  }

  private emitBlocks(
    f: FunctionEmitter,
    links: Links,
    region: Region,
    leaveAt: (at: RegionInstruction) => number,
    frame: RegionFrame,
    exit: Label,
  ): void {
    const structure = analyze({ successors: region.successors });
    const labels = new Map<number, Label>();
    const loops = new Map<number, Label>();

    const leaveFor = (offset: number): void => {
      const target: Expr = add(frame.page, i64(offset));
      const wraps = !region.blocks[0].instructions[0].instruction.variant.long64;
      f.storeRaw(zero, stateBase + state.linear.offset, wraps ? and(target, i64(0xffffffffn)) : target, 8);
      f.set(frame.result, i32(status.jump));
      f.branch(exit);
    };
    const goTo = (from: number, offset: number): void => {
      const to = region.blockAt.get(offset);
      if (to === undefined || !region.successors[from].includes(to) || structure.isIrreducible(from, to))
        leaveFor(offset);
      else if (structure.isBackEdge(from, to)) {
        this.emitBudget(f, () => leaveFor(offset));
        f.branch(loops.get(to) as Label);
      } else if (structure.isMerge[to]) f.branch(labels.get(to) as Label);
      else tree(to);
    };
    const tree = (node: number): void => {
      const body = () => within(node, structure.mergeChildren[node].length - 1);
      if (structure.isLoopHeader[node]) {
        f.loop((label) => {
          loops.set(node, label);
          body();
        });
      } else body();
    };
    const within = (node: number, last: number): void => {
      if (last < 0) {
        block(node);
        return;
      }
      const merge = structure.mergeChildren[node][last];
      f.block((label) => {
        labels.set(merge, label);
        within(node, last - 1);
      });
      tree(merge);
    };
    const block = (node: number): void => {
      f.inScope(() =>
        this.emitBlock(f, links, region.blocks[node], leaveAt, { frame, exit, goTo: (offset) => goTo(node, offset) }),
      );
    };
    tree(0);
  }

  private emitBlock(
    f: FunctionEmitter,
    links: Links,
    block: BasicBlock,
    leaveAt: (at: RegionInstruction) => number,
    control: RegionControl,
  ): void {
    const sequence: Sequence = { known: undefined };
    for (const at of block.instructions) this.emitOne(f, links, at, leaveAt(at), control, sequence);
    if (block.fallThrough >= 0) control.goTo(block.fallThrough);
  }

  /** A look at the budget, as every taken branch of the interpreter has one. */
  private emitBudget(f: FunctionEmitter, leave: () => void): void {
    const left = f.let(sub(f.loadRaw(zero, stateBase + state.budget.offset, 'i32', 4), i32(1)));
    f.storeRaw(zero, stateBase + state.budget.offset, left, 4);
    f.ifUnlikely(ltS(left, i32(0)), leave);
  }
}

/** Emits a region's function: blocks in structured control flow, what leaves them, and the way to the next region. */
import {
  add,
  and,
  type Expr,
  eqz,
  fastRounding,
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
import type { Links } from '../emit/builder.ts';
import { handlerType, status } from '../emit/core-types.ts';
import { emitInstruction, emitLookup, isMapped, ops } from '../interpreter.ts';
import { record, recordIn, stateBase } from '../layout.ts';
import { FunctionEmitter, type Label } from '../wasm/function.ts';
import type { FunctionBody } from '../wasm/writer.ts';
import { RegionBuilder } from './builder.ts';
import {
  branchOfPath,
  type LeaveAddress,
  type RegionControl,
  RegionFrame,
  type RegionSequence,
  startOfPath,
  Untranslatable,
} from './frame.ts';
import { pageOf, type Region, type RegionInstruction } from './region.ts';
import type { Dispatch } from './structure.ts';

/** A region's value for `result` that means: go to the record at this address less the mark, which is in the page. */
const recordMark = 2;
const zero = i32(0);

/** A region about to be emitted. */
export interface Plan {
  readonly region: Region;
  readonly mode: number;
  /** Its entry is in the upper half of the address space. */
  readonly isKernel: boolean;
  readonly dispatch: Dispatch;
  /** Count how often blocks run. */
  readonly counts: boolean;
  /** Entry table of the page at a distance from the entry's. */
  tableOf(delta: number): number;
  /** The record that the interpreter goes on with when an instruction leaves. */
  leaveAt(at: RegionInstruction): LeaveAddress;
  /** Where the targets of an indirect branch are remembered; 0 for other instructions. */
  seenAt(at: RegionInstruction): number;
}

interface BlockFrame {
  readonly frame: RegionFrame;
  readonly exit: Label;
  goTo(from: number, offset: number, sequence: RegionSequence): void;
}

export interface EmitterParts {
  /** Of the engine's memory. */
  readonly view: DataView;
  readonly words: Int32Array;
  /** Functions of string instructions with REP, by key: row and variant. */
  readonly repeatHandlers: ReadonlyMap<string, number>;
}

export class RegionEmitter {
  private readonly view: DataView;
  private readonly parts: EmitterParts;

  constructor(parts: EmitterParts) {
    this.parts = parts;
    this.view = parts.view;
  }

  /** Whether the semantics of an instruction's row, in its variant, can be part of a region. */
  canEmit(links: Links, at: RegionInstruction): boolean {
    const f = new FunctionEmitter(handlerType.params);
    const frame = new RegionFrame(f);
    const leave = { record: at.record };
    try {
      f.block((exit) => {
        const control = { frame, exit, delta: 0, isFinal: false, goTo: () => {}, targets: [], seen: 0 };
        this.emitOne(f, links, at, leave, control, startOfPath(frame));
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
    leaveAddress: LeaveAddress,
    control: RegionControl,
    sequence: RegionSequence,
  ): void {
    const { parsed, variant } = at.instruction;
    const { variant: normal, key } = normalVariant(parsed, variant);
    const b = new RegionBuilder(f, links, parsed, normal, this.view, at.record, leaveAddress, control, sequence);
    if (!parsed.row.repeats || !normal.rep) {
      emitInstruction(b, parsed);
      return;
    }
    const handler = this.parts.repeatHandlers.get(key);
    if (handler === undefined) throw new Untranslatable();
    b.repeatByHandler(handler);
  }

  emit(links: Links, plan: Plan): FunctionBody {
    const f = new FunctionEmitter(handlerType.params);
    const frame = new RegionFrame(f);
    frame.fillsTlb = plan.isKernel;
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
    const { region, mode, dispatch } = plan;
    const { structure } = dispatch;
    const labels = new Map<number, Label>();
    const loops = new Map<number, Label>();
    /** The dispatcher's target. */
    const choice = f.lasting('i32');
    if (dispatch.dispatcher >= 0) f.set(choice, f.loadRaw(f.param(0), record.entry, 'i32', 2));

    const leaveFor = (from: number, offset: number): void => {
      const delta = pageOf(offset);
      const to = delta === from ? recordIn(this.parts.words, plan.tableOf(delta), offset - delta) : 0;
      if (to) {
        if (delta) f.storeRaw(zero, stateBase + state.page.offset, add(frame.page, i64(delta)), 8);
        f.set(frame.result, i32(to + recordMark));
      } else {
        const target: Expr = add(frame.page, i64(offset));
        const wrapped = mode & modeBits.long64 ? target : and(target, i64(0xffffffffn));
        f.storeRaw(zero, stateBase + state.linear.offset, wrapped, 8);
        f.set(frame.result, i32(status.jump));
      }
      f.branch(exit);
    };
    const goTo = (from: number, offset: number, sequence: RegionSequence): void => {
      const to = region.blockAt.get(offset);
      const here = pageOf(region.blocks[from].offset);
      if (to === undefined || !region.successors[from].includes(to)) {
        leaveFor(here, offset);
        return;
      }
      const delta = pageOf(offset);
      if (delta !== here) {
        const target = f.let(add(frame.page, i64(delta)));
        f.ifUnlikely(eqz(isMapped(f, target, plan.tableOf(delta))), () => leaveFor(here, offset));
      }
      const isDispatched = dispatch.isDispatched(from, to);
      if (isDispatched || structure.isBackEdge(from, to)) this.emitBudget(f, frame, () => leaveFor(delta, offset));
      if (isDispatched) {
        f.set(choice, i32(dispatch.targets.indexOf(to)));
        f.branch(loops.get(dispatch.dispatcher) as Label);
      } else if (structure.isBackEdge(from, to)) f.branch(loops.get(to) as Label);
      else if (structure.isMerge[to]) f.branch(labels.get(to) as Label);
      else tree(to, branchOfPath(sequence));
    };
    const tree = (node: number, sequence: RegionSequence): void => {
      const isLoop = structure.isLoopHeader[node];
      const body = () => within(node, structure.mergeChildren[node].length - 1, isLoop ? startOfPath(frame) : sequence);
      if (isLoop) {
        f.loop((label) => {
          loops.set(node, label);
          body();
        });
      } else body();
    };
    const within = (node: number, last: number, sequence: RegionSequence): void => {
      if (last < 0) {
        block(node, sequence);
        return;
      }
      const merge = structure.mergeChildren[node][last];
      f.block((label) => {
        labels.set(merge, label);
        within(node, last - 1, sequence);
      });
      tree(merge, startOfPath(frame));
    };
    const block = (node: number, sequence: RegionSequence): void => {
      if (node === dispatch.dispatcher) {
        const choices = dispatch.targets.map((to) => labels.get(to) as Label);
        f.branchTable(choice, choices, choices[0]);
        return;
      }
      f.inScope(() => this.emitBlock(f, links, plan, node, sequence, { frame, exit, goTo }));
    };
    tree(Math.max(dispatch.dispatcher, 0), startOfPath(frame));
  }

  private emitBlock(
    f: FunctionEmitter,
    links: Links,
    plan: Plan,
    node: number,
    sequence: RegionSequence,
    { frame, exit, goTo }: BlockFrame,
  ): void {
    const { counts } = plan;
    const block = plan.region.blocks[node];
    const delta = pageOf(block.offset);
    const follow = (offset: number) => goTo(node, offset, sequence);
    if (counts && block.instructions.length) {
      const at = i32(block.instructions[0].record);
      f.storeRaw(at, record.runs, add(f.loadRaw(at, record.runs, 'i32', 4), i32(1)), 4);
    }
    for (const at of block.instructions) {
      const isLast = at === block.instructions.at(-1);
      const targets = isLast ? block.targets : [];
      const control = {
        frame,
        exit,
        delta,
        isFinal: !counts,
        goTo: follow,
        targets,
        seen: isLast ? plan.seenAt(at) : 0,
      };
      this.emitOne(f, links, at, plan.leaveAt(at), control, sequence);
    }
    if (block.fallThrough !== undefined) follow(block.fallThrough);
  }

  /** A look at the budget, as every taken branch of the interpreter has one. */
  private emitBudget(f: FunctionEmitter, { budget }: RegionFrame, leave: () => void): void {
    f.set(budget, sub(budget, i32(1)));
    f.ifUnlikely(ltS(budget, i32(0)), leave);
  }
}

/**
 * The x86 builder of the translator: the record's fields are constants, and the
 * registers and lazy flags live in locals of the region's function.
 *
 * A region never runs slow paths: a TLB miss, an exception, a helper or a REP
 * string leaves for the interpreter, which runs that one instruction from its
 * start. So nothing may be changed before the last point where an instruction
 * can leave; semantics that do otherwise are found out while emitting
 * (Untranslatable) and stay with the interpreter.
 */
import {
  add,
  and,
  type Expr,
  eq,
  i32,
  i64,
  ltS,
  ne,
  type ParsedRow,
  shl,
  shrU,
  state,
  sub,
  toI32,
  type Variant,
  xor,
} from '../../../target/index.ts';
import type { Links } from '../emit/builder.ts';
import { status } from '../emit/core-types.ts';
import { codeChanges, record, stateBase } from '../layout.ts';
import type { FunctionEmitter, Label } from '../wasm/function.ts';
import { AccessBuilder } from './access.ts';
import { type LeaveAddress, type RegionControl, type RegionSequence, seenSlots, Untranslatable } from './frame.ts';

/** Up to so many targets are compared one after the other. */
const comparedTargets = 4;
const maxTable = 256;

export class RegionBuilder extends AccessBuilder {
  private readonly leaveAddress: LeaveAddress;

  /**
   * @param recordAddress where the operands are read from now
   */
  constructor(
    f: FunctionEmitter,
    links: Links,
    parsed: ParsedRow,
    v: Variant,
    view: DataView,
    recordAddress: number,
    leaveAddress: LeaveAddress,
    control: RegionControl,
    sequence: RegionSequence,
  ) {
    super(f, links, parsed, v, view, recordAddress, control, sequence);
    this.leaveAddress = leaveAddress;
  }

  override goto(i: number): void {
    if (this.osize === 2) throw new Untranslatable();
    this.control.goTo(this.control.delta + this.view.getInt32(this.recordAddress + record.branch, true));
    void i;
  }

  override jump(ip: Expr): void {
    const { targets, seen } = this.control;
    if (targets.length) this.goToKnown(targets, this.f.let(sub(ip, this.control.frame.page)));
    if (seen) {
      const low = this.f.let(toI32(ip));
      const hash = and(xor(xor(low, shrU(low, i32(4))), shrU(low, i32(8))), i32(seenSlots - 1));
      this.f.storeRaw(shl(hash, i32(2)), seen, low, 4);
    }
    super.jump(ip);
    this.f.set(this.control.frame.result, i32(status.jump));
    this.f.branch(this.control.exit);
  }

  /** Branches to the target at `distance` (i64) from the entry's page, if it is one of those. */
  private goToKnown(targets: readonly number[], distance: Expr): void {
    const goIf = (target: number) =>
      this.f.if(eq(distance, i64(target)), () => this.f.inScope(() => this.control.goTo(target)));
    const hash = targets.length > comparedTargets ? perfectHash(targets) : undefined;
    if (!hash) {
      for (const target of targets) goIf(target);
      return;
    }
    const index = this.f.let(and(shrU(toI32(distance), i32(hash.shift)), i32(hash.mask)));
    this.f.block((miss) => {
      const labels: Label[] = new Array(hash.mask + 1).fill(miss);
      const nest = (i: number): void => {
        if (i < 0) {
          this.f.branchTable(index, labels, miss);
          return;
        }
        this.f.block((label) => {
          labels[(targets[i] >>> hash.shift) & hash.mask] = label;
          nest(i - 1);
        });
        goIf(targets[i]);
        this.f.branch(miss);
      };
      nest(targets.length - 1);
    });
  }

  /** Lets the interpreter run this instruction. */
  protected override leaveHere(): void {
    const { frame, delta } = this.control;
    const { leaveAddress } = this;
    if (delta !== 0) this.putInMemory(state.page, add(frame.page, i64(delta)));
    const to = 'cell' in leaveAddress ? this.f.loadRaw(i32(leaveAddress.cell), 0, 'i32', 4) : i32(leaveAddress.record);
    this.f.set(frame.result, to);
    this.f.branch(this.control.exit);
  }

  protected override leaveUnchanged(): void {
    if (this.changed) throw new Untranslatable();
    this.leaveHere();
  }

  override raise(): void {
    this.leaveUnchanged();
  }

  override helper(): void {
    this.leaveUnchanged();
  }

  override repeat(): void {
    throw new Untranslatable();
  }

  /**
   * Runs a string instruction with REP by its handler, which moves whole pages at a time, to its end; leaves when it
   * faults, the budget is spent, or code has changed.
   */
  repeatByHandler(handler: number): void {
    const { frame } = this.control;
    const registers = [0, 1, 6, 7].map((i) => state.gpr[i]);
    const comparing = /^(SCAS|CMPS)/.test(this.parsed.row.mnemonic);
    const results = comparing ? [...registers, state.flagsKind, state.flagsResult, state.flagsSource] : registers;
    for (const field of results) this.putInMemory(field, frame.slot(field.offset, field.type));
    const changes = () => this.f.loadRaw(i32(0), codeChanges, 'i32', 4);
    const before = this.let(changes());
    this.f.loop((again) => {
      // A device that is written to may use the budget up.
      this.f.storeRaw(i32(0), stateBase + state.budget.offset, frame.budget, 4);
      const answer = this.f.callIndirect(
        this.links.handlerType,
        i32(handler),
        [i32(this.recordAddress)],
        'i32',
      ) as Expr;
      this.f.set(frame.budget, this.f.loadRaw(i32(0), stateBase + state.budget.offset, 'i32', 4));
      for (const field of results) this.setSlot(field.offset, this.getFromMemory(field));
      this.f.ifUnlikely(ne(changes(), before), () => {
        this.f.if(answer, () => this.leaveHere());
        const next = add(
          this.get(state.page),
          add(this.field(record.offset, 'i64', 2), this.field(record.length, 'i64', 1)),
        );
        this.putInMemory(state.linear, this.long64 ? next : and(next, i64(0xffffffffn)));
        this.f.set(frame.result, i32(status.jump));
        this.f.branch(this.control.exit);
      });
      this.f.if(answer, () => {
        this.f.ifUnlikely(ne(answer, i32(status.repeat)), () => this.leaveHere());
        this.f.set(frame.budget, sub(frame.budget, i32(1)));
        this.f.ifUnlikely(ltS(frame.budget, i32(0)), () => this.leaveHere());
        this.f.branch(again);
      });
    });
    this.sequence.known = undefined;
    this.reached.forget();
  }

  /** No interrupt comes up within a region but by what leaves it. */
  override interruptWindow(): void {
    this.f.if(this.get(state.interruptPending), () => this.leaveUnchanged());
  }

  override endBlock(): void {
    throw new Untranslatable();
  }

  override finish(): void {}

  protected override leaveWithFault(): void {
    this.leaveUnchanged();
  }
}

/** A shift and mask that give each target its own number, the smallest mask that there is; or undefined. */
function perfectHash(targets: readonly number[]): { shift: number; mask: number } | undefined {
  for (let size = 1; size <= maxTable; size *= 2) {
    if (size < targets.length) continue;
    for (let shift = 0; shift < 12; shift++)
      if (new Set(targets.map((t) => (t >>> shift) & (size - 1))).size === targets.length)
        return { shift, mask: size - 1 };
  }
  return undefined;
}

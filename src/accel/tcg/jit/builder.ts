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
  eqz,
  type Field,
  type FloatLanes,
  fastRounding,
  geU,
  type IntSize,
  i32,
  i64,
  lane,
  ltS,
  ltU,
  ne,
  op,
  or,
  type ParsedRow,
  shl,
  shrU,
  state,
  sub,
  toI32,
  type ValueType,
  type Variable,
  type Variant,
  xor,
} from '../../../target/index.ts';
import type { Links } from '../emit/builder.ts';
import { fillWrite, status } from '../emit/core-types.ts';
import { type Completion, HandlerBuilder, noKnowledge, type Sequence, tameBits } from '../emit/handler.ts';
import { codeChanges, record, stateBase, tlb } from '../layout.ts';
import type { FunctionEmitter, Label } from '../wasm/function.ts';
import { type LocalPair, type Place, placeOf, Reached } from './reached.ts';

/** Thrown while emitting semantics that the translator can not run. */
export class Untranslatable extends Error {}

/** The state that a region keeps in locals. */
export class RegionFrame {
  readonly f: FunctionEmitter;
  readonly result: Variable;
  readonly page: Variable;
  readonly tlb: Variable;
  /** What is left of state `budget`. */
  readonly budget: Variable;
  /** What `fastRounding` says of MXCSR; used by some instruction. */
  readonly roundsFast: Variable;
  usesFloats = false;
  /** A TLB miss is tried to be filled, instead of leaving: pays where misses are many, and costs a tenth in tight loops. */
  fillsTlb = false;
  private readonly locals = new Map<number, Variable>();
  private readonly written = new Set<number>();
  private readonly constants = new Map<Expr, Variable>();
  /** For the engine addresses that are known at a time. */
  readonly reaches: readonly LocalPair[];
  readonly names = { next: 0 };

  constructor(f: FunctionEmitter) {
    this.f = f;
    this.result = f.lasting('i32');
    this.page = f.lasting('i64');
    this.tlb = f.lasting('i32');
    this.budget = f.lasting('i32');
    this.roundsFast = f.lasting('i32');
    this.reaches = Array.from({ length: knownReaches }, () => [f.lasting('i32'), f.lasting('i32')] as const);
  }

  /** The local of a slot (a state offset where a cached register starts). */
  slot(offset: number, type: ValueType): Variable {
    let local = this.locals.get(offset);
    if (!local) {
      local = this.f.lasting(type);
      this.locals.set(offset, local);
    }
    return local;
  }

  /** The local that has the value of a constant expression from the region's start. */
  constant(e: Expr): Expr {
    let local = this.constants.get(e);
    if (!local) {
      local = this.f.lasting(e.type);
      this.constants.set(e, local);
    }
    return local;
  }

  setConstants(): void {
    for (const [e, local] of this.constants) this.f.set(local, e);
  }

  markWritten(offset: number): void {
    this.written.add(offset);
  }

  /** Reads every slot that is used. */
  loadAll(load: (offset: number, type: ValueType) => Expr): void {
    for (const [offset, local] of this.locals) this.f.set(local, load(offset, local.type));
  }

  storeWritten(store: (offset: number, value: Expr) => void): void {
    for (const offset of this.written) store(offset, this.locals.get(offset) as Variable);
  }
}

/** What is known along a path of a region. */
export interface RegionSequence extends Sequence {
  readonly reached: Reached;
}

/** Where nothing is known, as in front of a loop. */
export const startOfPath = (frame: RegionFrame): RegionSequence => ({
  ...noKnowledge(),
  reached: new Reached(frame.names),
});

/** For one of several ways that the path goes on. */
export const branchOfPath = ({ known, tame, reached }: RegionSequence): RegionSequence => ({
  known,
  tame: new Map(tame),
  reached: reached.copy(),
});

/** An engine address, and a constant to add to it. */
interface HostAddress {
  readonly at: Expr;
  readonly offset: number;
}

/** Where control goes from a block of the region. */
export interface RegionControl {
  readonly frame: RegionFrame;
  readonly exit: Label;
  /** Linear distance of the instruction's page from the entry's. */
  readonly delta: number;
  /** What is known of addresses is used, which takes longer to translate. */
  readonly isFinal: boolean;
  /** Emits the way to a place (see region.ts): a branch within the region, or the way out. */
  goTo(offset: number): void;
  /** Places in the region where the instruction, an indirect branch, may go. */
  readonly targets: readonly number[];
  /** Engine address of the i32s that keep where an indirect branch goes otherwise (see `seenSlots`), or 0. */
  readonly seen: number;
}

/** The record that the interpreter goes on with when an instruction leaves, or where in memory its address is. */
export type LeaveAddress = { readonly record: number } | { readonly cell: number };

/** How many targets of an indirect branch are remembered: the low halves of linear addresses, by a hash of them. */
export const seenSlots = 16;
/** Up to so many targets are compared one after the other. */
const comparedTargets = 4;
const maxTable = 256;
/** Engine addresses that are known at a time. */
const knownReaches = 6;
const pageBytes = 4096;

const firstGpr = state.gpr[0].offset;
const lastGpr = state.gpr[15].offset + 8;
const firstVector = state.xmm[0].offset;
const lastVector = firstVector + 512;
const lazyFlags = [
  state.flagsKind,
  state.flagsResult,
  state.flagsSource,
  state.carryKind,
  state.carryResult,
  state.carrySource,
];
const flagFields = new Set(lazyFlags.map((x) => x.offset));
/** Writing these twice with the same values does no harm, so a later leave may follow. */
const harmless = new Set(
  [
    state.linear,
    state.mxcsr,
    state.floatFlags,
    state.slow,
    state.currentIp,
    state.nextIp,
    state.faultVector,
    state.faultError,
    ...state.arg,
    ...state.vectorArg,
  ].map((x) => x.offset),
);

const never: Completion = {
  jump: () => {},
  jumpToRecord: () => {},
  fault: () => {},
  leave: () => {},
  repeat: () => {},
  helperStatus: () => {},
};

export class RegionBuilder extends HandlerBuilder {
  override readonly inRegion = true;
  private readonly recordAddress: number;
  private readonly leaveAddress: LeaveAddress;
  private readonly view: DataView;
  private readonly control: RegionControl;
  private readonly reached: Reached;
  private readonly places = new Map<Expr, Place>();
  /** How deep within conditional parts of the semantics. */
  private depth = 0;
  /** What is known of values, and the vector registers that they were read from. */
  private readonly tame = new Map<Expr, number>();
  private readonly slots = new Map<Expr, number>();
  private changed = false;
  private probed = false;

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
    super(f, links, parsed, v, i32(recordAddress), 0, never, sequence);
    this.reached = sequence.reached;
    this.view = view;
    this.recordAddress = recordAddress;
    this.leaveAddress = leaveAddress;
    this.control = control;
  }

  // --- Operands.

  override field(offset: number, type: 'i32' | 'i64', bytes: number): Expr {
    const at = this.recordAddress + offset;
    if (bytes === 8) return i64(this.view.getBigInt64(at, true));
    const value =
      bytes === 4 ? this.view.getInt32(at, true) : bytes === 2 ? this.view.getUint16(at, true) : this.view.getUint8(at);
    return type === 'i64' ? i64(value >>> 0) : i32(value);
  }

  // --- State in locals.

  override get(field: Field): Expr {
    return this.getAt(i32(field.offset), 0, field.type, field.type === 'v128' ? 16 : /64/.test(field.type) ? 8 : 4);
  }

  override put(field: Field, e: Expr): void {
    if (e.type !== field.type) throw new Error(`put ${field.name}: ${e.type} into ${field.type}`);
    this.putAt(i32(field.offset), 0, e, field.type === 'v128' ? 16 : /64/.test(field.type) ? 8 : 4);
  }

  override getAt(offset: Expr, displacement: number, type: ValueType, bytes: number): Expr {
    if (offset.kind !== 'const') return super.getAt(offset, displacement, type, bytes);
    const at = (offset.value as number) + displacement;
    const { frame } = this.control;
    if (at === state.zero.offset) return i64(0);
    if (at === state.page.offset) return add(frame.page, i64(this.control.delta));
    if (flagFields.has(at)) return this.f.let(frame.slot(at, type));
    if (at >= firstGpr && at < lastGpr) {
      const value = this.f.let(this.readGpr(at, type, bytes));
      if (bytes === 8 && this.control.isFinal) this.places.set(value, this.reached.register(at));
      return value;
    }
    if (at >= firstVector && at < lastVector) {
      const value = this.f.let(this.readVectorSlot(at, type, bytes));
      if (type === 'v128') {
        this.slots.set(value, at);
        this.tame.set(value, this.sequence.tame.get(at) ?? 0);
      }
      return value;
    }
    return super.getAt(offset, displacement, type, bytes);
  }

  override putAt(offset: Expr, displacement: number, e: Expr, bytes: number): void {
    if (offset.kind !== 'const') {
      this.changed = true;
      super.putAt(offset, displacement, e, bytes);
      return;
    }
    const at = (offset.value as number) + displacement;
    if (!harmless.has(at)) this.changed = true;
    if (at === state.tlbBase.offset) {
      this.f.set(this.control.frame.tlb, e);
      this.reached.forget();
    }
    if (at === state.budget.offset) {
      this.f.set(this.control.frame.budget, e);
      return;
    }
    if (flagFields.has(at)) this.setSlot(at, e);
    else if (at >= firstGpr && at < lastGpr) this.writeGpr(at, e, bytes);
    else if (at >= firstVector && at < lastVector) this.writeVectorSlot(at, e, bytes);
    else super.putAt(offset, displacement, e, bytes);
    if (at === state.mxcsr.offset) this.readRounding();
  }

  private readRounding(): void {
    this.f.set(this.control.frame.roundsFast, fastRounding(super.getAt(i32(state.mxcsr.offset), 0, 'i32', 4)));
  }

  private setSlot(offset: number, e: Expr): void {
    const { frame } = this.control;
    if (this.control.isFinal) this.reached.write(offset, this.depth === 0 ? this.place(e) : undefined);
    this.f.set(frame.slot(offset, e.type), e);
    frame.markWritten(offset);
  }

  private readGpr(at: number, type: ValueType, bytes: number): Expr {
    const start = at & ~7;
    const whole = this.control.frame.slot(start, 'i64');
    const shifted = at === start ? whole : shrU(whole, i64((at - start) * 8));
    if (bytes === 8) return whole;
    if (type === 'i64') return and(shifted, i64(bytes === 4 ? 0xffffffffn : bytes === 2 ? 0xffffn : 0xffn));
    const low = op('i32.wrap_i64', shifted);
    return bytes === 4 ? low : and(low, i32(bytes === 2 ? 0xffff : 0xff));
  }

  private writeGpr(at: number, e: Expr, bytes: number): void {
    const start = at & ~7;
    if (bytes === 8) {
      this.setSlot(start, e);
      return;
    }
    const mask = (bytes === 4 ? 0xffffffffn : bytes === 2 ? 0xffffn : 0xffn) << BigInt((at - start) * 8);
    const wide = e.type === 'i64' ? e : op('i64.extend_i32_u', e);
    const moved = and(shl(wide, i64((at - start) * 8)), i64(mask));
    const whole = this.control.frame.slot(start, 'i64');
    this.setSlot(start, or(and(whole, i64(~mask)), moved));
  }

  private readVectorSlot(at: number, type: ValueType, bytes: number): Expr {
    const start = at & ~15;
    const whole = this.control.frame.slot(start, 'v128');
    if (type === 'v128') return whole;
    const index = (at - start) / bytes;
    switch (type) {
      case 'f32':
        return lane('f32x4.extract_lane', index, whole);
      case 'f64':
        return lane('f64x2.extract_lane', index, whole);
      case 'i64':
        if (bytes === 8) return lane('i64x2.extract_lane', index, whole);
        return op('i64.extend_i32_u', this.vectorLane(whole, index, bytes));
      default:
        return this.vectorLane(whole, index, bytes);
    }
  }

  private vectorLane(whole: Expr, index: number, bytes: number): Expr {
    if (bytes === 4) return lane('i32x4.extract_lane', index, whole);
    return lane(bytes === 2 ? 'i16x8.extract_lane_u' : 'i8x16.extract_lane_u', index, whole);
  }

  private writeVectorSlot(at: number, e: Expr, bytes: number): void {
    const start = at & ~15;
    this.sequence.tame.set(start, this.tame.get(e) ?? 0);
    if (e.type === 'v128') {
      this.setSlot(start, e);
      return;
    }
    const whole = this.control.frame.slot(start, 'v128');
    const index = (at - start) / bytes;
    const shape = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' }[bytes] as string;
    const floating = e.type === 'f32' ? 'f32x4' : e.type === 'f64' ? 'f64x2' : shape;
    const narrow = e.type === 'i64' && bytes < 8 ? op('i32.wrap_i64', e) : e;
    this.setSlot(start, lane(`${floating}.replace_lane`, index, whole, narrow));
  }

  // --- What is known of float values.

  override let(e: Expr): Expr {
    const value = super.let(e);
    const place = this.control.isFinal ? this.place(e) : undefined;
    if (place) this.places.set(value, place);
    const bits = this.tame.get(e);
    const slot = this.slots.get(e);
    if (bits !== undefined) this.tame.set(value, bits);
    if (slot !== undefined) this.slots.set(value, slot);
    return value;
  }

  override constant(e: Expr): Expr {
    return this.control.frame.constant(e);
  }

  override roundsFast(): Expr {
    this.control.frame.usesFloats = true;
    return this.control.frame.roundsFast;
  }

  override isTame(e: Expr, lanes: FloatLanes): boolean {
    return ((this.tame.get(e) ?? 0) & tameBits[lanes]) === tameBits[lanes];
  }

  override noteTame(e: Expr, lanes: FloatLanes): void {
    this.tame.set(e, (this.tame.get(e) ?? 0) | tameBits[lanes]);
    const slot = this.slots.get(e);
    if (slot !== undefined) this.sequence.tame.set(slot, (this.sequence.tame.get(slot) ?? 0) | tameBits[lanes]);
  }

  override insist(holds: () => Expr): void {
    this.f.ifUnlikely(eqz(holds()), () => this.leaveUnchanged());
  }

  // --- Guest memory: a miss leaves.

  protected override tlbSet(): Expr {
    return this.control.frame.tlb;
  }

  private place(e: Expr): Place | undefined {
    return placeOf(e, (leaf) =>
      leaf === this.control.frame.page ? { key: 'page', displacement: 0 } : this.places.get(leaf),
    );
  }

  /** Like `place`; those near the code are known to be in different pages or not. */
  private accessPlace(address: Expr): Place | undefined {
    const place = this.place(address);
    if (place?.key !== 'page') return place;
    const inPage = place.displacement & (pageBytes - 1);
    return { key: `page${place.displacement - inPage}`, displacement: inPage };
  }

  /** What is in a condition's arm is not known behind it. */
  private conditionally(body: () => void): void {
    this.depth++;
    body();
    this.depth--;
  }

  override if(cond: Expr, then: () => void, otherwise?: () => void): void {
    this.conditionally(() => super.if(cond, then, otherwise));
  }

  override ifUnlikely(cond: Expr, then: () => void): void {
    this.conditionally(() => super.ifUnlikely(cond, then));
  }

  override loop(body: (again: () => void) => void): void {
    this.conditionally(() => super.loop(body));
  }

  /** Engine address (i32) of an access that hits, or away. */
  private reach(address: Expr, write: boolean, size: number): HostAddress {
    if (this.changed && !this.probed) throw new Untranslatable();
    const place = this.control.isFinal && this.depth === 0 && this.long64 ? this.accessPlace(address) : undefined;
    const near = place && this.nearby(place, address, write, size);
    if (near) return near;
    const host = this.lookUp(this.f.let(address), write, size);
    if (!place) return { at: this.f.let(host), offset: 0 };
    const { host: local, inPage } = this.reached.add(place, size, write, this.control.frame.reaches);
    this.f.set(local, host);
    this.f.set(inPage, and(local, i32(pageBytes - 1)));
    return { at: this.f.let(local), offset: 0 };
  }

  /** By the TLB, or away. */
  private lookUp(a: Expr, write: boolean, size: number): Expr {
    const entry = this.tlbEntry(a);
    this.f.ifUnlikely(eqz(this.hit(entry, write ? tlb.writeTag : tlb.readTag, a, size)), () => {
      const access = i32(write ? size | fillWrite : size);
      const fill = () => this.f.call(this.links.runtime.fill, [a, access], 'i32') as Expr;
      this.if(this.control.frame.fillsTlb ? fill() : i32(1), () => this.leaveHere());
    });
    return this.host(entry, a);
  }

  /** By an access that was looked up, if this one is in the same page. */
  private nearby(place: Place, address: Expr, write: boolean, size: number): HostAddress | undefined {
    const known = this.reached.near(place);
    if (!known || (write && !known.isWritable)) return undefined;
    const distance = place.displacement - known.displacement;
    if (Math.abs(distance) > pageBytes - size) return undefined;
    const at = this.f.let(distance < 0 ? add(known.host, i32(distance)) : known.host) as Variable;
    const offset = Math.max(distance, 0);
    if (distance >= 0 && distance + size <= known.size) return { at, offset };
    const beyond =
      distance >= 0
        ? geU(known.inPage, i32(pageBytes + 1 - size - distance))
        : distance + size <= known.size
          ? ltU(known.inPage, i32(-distance))
          : geU(add(known.inPage, i32(distance)), i32(pageBytes + 1 - size));
    this.f.ifUnlikely(beyond, () => {
      const host = this.lookUp(this.f.let(address), write, size);
      this.f.set(at, sub(host, i32(offset)));
    });
    return { at, offset };
  }

  override load(address: Expr, size: IntSize): Expr {
    const { at, offset } = this.reach(address, false, size);
    return this.f.loadRaw(at, offset, size === 8 ? 'i64' : 'i32', size);
  }

  override load128(address: Expr): Expr {
    const { at, offset } = this.reach(address, false, 16);
    return this.f.loadRaw(at, offset, 'v128', 16);
  }

  override store(address: Expr, size: IntSize, value: Expr): void {
    const v = this.f.let(value);
    const { at, offset } = this.reach(address, true, size);
    this.f.storeRaw(at, offset, v, size);
    this.changed = true;
  }

  override store128(address: Expr, value: Expr): void {
    const v = this.f.let(value);
    const { at, offset } = this.reach(address, true, 16);
    this.f.storeRaw(at, offset, v, 16);
    this.changed = true;
  }

  override probeWrite(address: Expr, size: number): void {
    this.reach(address, true, size);
    this.probed = true;
  }

  override modifyMemory(address: Expr, size: IntSize, change: (old: Expr) => Expr): void {
    const { at, offset } = this.reach(address, true, size);
    const value = this.f.let(change(this.f.loadRaw(at, offset, size === 8 ? 'i64' : 'i32', size)));
    this.f.storeRaw(at, offset, value, size);
    this.changed = true;
  }

  override bulkMove(): Expr {
    throw new Untranslatable();
  }

  override bulkFill(): Expr {
    throw new Untranslatable();
  }

  override bulkScan(): Expr {
    throw new Untranslatable();
  }

  // --- Flags that a library function looks at.

  override call(name: string, ...args: Expr[]): Expr {
    if (name.startsWith('flag')) {
      for (const field of lazyFlags) {
        super.putAt(i32(field.offset), 0, this.control.frame.slot(field.offset, field.type), 8);
      }
    }
    const result = super.call(name, ...args);
    if (name === 'sse_settle') this.readRounding();
    return result;
  }

  // --- Control.

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
  private leaveHere(): void {
    const { frame, delta } = this.control;
    const { leaveAddress } = this;
    if (delta !== 0) super.putAt(i32(state.page.offset), 0, add(frame.page, i64(delta)), 8);
    const to = 'cell' in leaveAddress ? this.f.loadRaw(i32(leaveAddress.cell), 0, 'i32', 4) : i32(leaveAddress.record);
    this.f.set(frame.result, to);
    this.f.branch(this.control.exit);
  }

  private leaveUnchanged(): void {
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
    for (const field of results) super.putAt(i32(field.offset), 0, frame.slot(field.offset, field.type), 8);
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
      for (const field of results) this.setSlot(field.offset, super.getAt(i32(field.offset), 0, field.type, 8));
      this.f.ifUnlikely(ne(changes(), before), () => {
        this.f.if(answer, () => this.leaveHere());
        const next = add(
          this.get(state.page),
          add(this.field(record.offset, 'i64', 2), this.field(record.length, 'i64', 1)),
        );
        super.putAt(i32(state.linear.offset), 0, this.long64 ? next : and(next, i64(0xffffffffn)), 8);
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

/** The registers and lazy flags of a region, in locals of its function; the record's fields as constants. */
import {
  add,
  and,
  type Expr,
  eqz,
  type Field,
  type FloatLanes,
  fastRounding,
  i32,
  i64,
  lane,
  op,
  or,
  type ParsedRow,
  shl,
  shrU,
  state,
  type ValueType,
  type Variant,
} from '../../../target/index.ts';
import type { Links } from '../emit/builder.ts';
import { type Completion, HandlerBuilder, tameBits } from '../emit/handler.ts';
import type { FunctionEmitter } from '../wasm/function.ts';
import type { RegionControl, RegionSequence } from './frame.ts';
import { type Place, placeOf, type Reached } from './reached.ts';

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

export abstract class LocalsBuilder extends HandlerBuilder {
  override readonly inRegion = true;
  protected readonly recordAddress: number;
  protected readonly view: DataView;
  protected readonly control: RegionControl;
  protected readonly reached: Reached;
  private readonly places = new Map<Expr, Place>();
  /** How deep within conditional parts of the semantics. */
  protected depth = 0;
  /** What is known of values, and the vector registers that they were read from. */
  private readonly tame = new Map<Expr, number>();
  private readonly slots = new Map<Expr, number>();
  /** The instruction has changed something that it can not change twice. */
  protected changed = false;

  constructor(
    f: FunctionEmitter,
    links: Links,
    parsed: ParsedRow,
    v: Variant,
    view: DataView,
    recordAddress: number,
    control: RegionControl,
    sequence: RegionSequence,
  ) {
    super(f, links, parsed, v, i32(recordAddress), 0, never, sequence);
    this.reached = sequence.reached;
    this.view = view;
    this.recordAddress = recordAddress;
    this.control = control;
  }

  /** Lets the interpreter run this instruction, which has changed nothing yet. */
  protected abstract leaveUnchanged(): void;

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

  /** Writes a field in memory, whether it is in a local or not. */
  protected putInMemory(field: Field, e: Expr): void {
    super.putAt(i32(field.offset), 0, e, 8);
  }

  /** Reads a field from memory, whether it is in a local or not. */
  protected getFromMemory(field: Field): Expr {
    return super.getAt(i32(field.offset), 0, field.type, 8);
  }

  private readRounding(): void {
    this.f.set(this.control.frame.roundsFast, fastRounding(super.getAt(i32(state.mxcsr.offset), 0, 'i32', 4)));
  }

  protected setSlot(offset: number, e: Expr): void {
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

  // --- What is known of addresses.

  protected place(e: Expr): Place | undefined {
    return placeOf(e, (leaf) =>
      leaf === this.control.frame.page ? { key: 'page', displacement: 0 } : this.places.get(leaf),
    );
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

  // --- Flags that a library function looks at.

  override call(name: string, ...args: Expr[]): Expr {
    if (name.startsWith('flag')) {
      for (const field of lazyFlags) {
        this.putInMemory(field, this.control.frame.slot(field.offset, field.type));
      }
    }
    const result = super.call(name, ...args);
    if (name === 'sse_settle') this.readRounding();
    return result;
  }
}

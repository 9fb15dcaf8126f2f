/** The x86 builder whose operands come from a decoded record: emits interpreter handlers. */
import {
  add,
  and,
  convert,
  dynamicCondition,
  type Expr,
  eq,
  eqz,
  type FlagsKind,
  type FloatLanes,
  fastRounding,
  flagsCode,
  type HelperName,
  helperIds,
  type IntSize,
  i32,
  i64,
  type KnownFlags,
  keepsCarry,
  knownCondition,
  normalVariant,
  type OperandShape,
  op,
  or,
  type ParsedRow,
  select,
  shl,
  shrS,
  state,
  sub,
  toI32,
  toI64,
  type Variant,
  type X86Builder,
} from '../../../target/index.ts';
import { record, tlb, tlbSets } from '../layout.ts';
import type { FunctionEmitter } from '../wasm/function.ts';
import { type Links, WasmBuilder } from './builder.ts';

/** How a handler goes on when it does not simply end; the loop's inline cases branch, functions return a status. */
export interface Completion {
  /** State `linear` says where. */
  jump(): void;
  /** Straight to a record (i32) that is in the same page. */
  jumpToRecord(target: Expr): void;
  fault(): void;
  leave(): void;
  repeat(): void;
  /** A helper's status, known to be not `next`. */
  helperStatus(value: Expr): void;
}

/** What the instructions of one fused handler share. */
export interface Sequence {
  known: KnownFlags | undefined;
  /** The lanes of vector registers (by state offset) that are known not to be denormal, as bits of `tameBits`. */
  readonly tame: Map<number, number>;
}

export const noKnowledge = (): Sequence => ({ known: undefined, tame: new Map() });
export const tameBits: Record<FloatLanes, number> = { f32: 1, f32x4: 3, f64: 4, f64x2: 12 };

const addressMask32 = i64(0xffffffffn);

export class HandlerBuilder extends WasmBuilder implements X86Builder {
  readonly inRegion: boolean = false;
  readonly osize: Variant['osize'];
  readonly asize: Variant['asize'];
  readonly ssize: Variant['ssize'];
  readonly memory: boolean;
  readonly vl: Variant['vl'];
  readonly vex: boolean;
  readonly w: boolean;
  readonly rep: Variant['rep'];
  readonly long64: boolean;
  readonly flat: boolean;
  readonly ready: boolean;
  protected readonly shapes: readonly OperandShape[];
  private readonly rec: Expr;
  private readonly at: number;
  protected readonly completion: Completion;
  protected readonly sequence: Sequence;
  protected readonly parsed: ParsedRow;
  private usedHelper = false;

  /** @param at byte offset of this instruction's record from `rec`: not 0 for the later ones of a fused handler */
  constructor(
    f: FunctionEmitter,
    links: Links,
    parsed: ParsedRow,
    v: Variant,
    rec: Expr,
    at: number,
    completion: Completion,
    sequence: Sequence,
  ) {
    super(f, links);
    this.osize = v.osize;
    this.asize = v.asize;
    this.ssize = v.ssize;
    this.memory = v.memory;
    this.vl = v.vl;
    this.vex = v.vex;
    this.w = v.w;
    this.rep = v.rep;
    this.long64 = v.long64;
    this.flat = v.flat;
    this.ready = v.ready;
    this.parsed = parsed;
    this.shapes = normalVariant(parsed, v).shapes;
    this.rec = rec;
    this.at = at;
    this.completion = completion;
    this.sequence = sequence;
  }

  width(i: number): number {
    return this.shapes[i].width;
  }

  inMemory(i: number): boolean {
    return this.shapes[i].kind === 'memory';
  }

  read(i: number): Expr {
    const shape = this.shapes[i];
    const size = shape.width as IntSize;
    switch (shape.kind) {
      case 'register':
      case 'mmx':
        return this.getAt(this.registerOffset(i), 0, size === 8 ? 'i64' : 'i32', size);
      case 'vector':
        return this.getAt(this.registerOffset(i), 0, size === 8 ? 'i64' : 'i32', size);
      case 'memory':
        return this.load(this.address(i), size);
      case 'immediate':
        return this.readImmediate(i, size);
      case 'number':
        return this.field(record.registers + 2 * i, 'i32', 2);
      case 'constant':
        return i32(shape.value);
      default:
        throw new Error(`${this.parsed.row.mnemonic}: operand ${i} can not be read as an integer`);
    }
  }

  /** A byte immediate is sign-extended to the width of the first operand. */
  private readImmediate(i: number, size: IntSize): Expr {
    const first = this.shapes[0];
    const wide = first.kind === 'immediate' ? this.osize : first.width;
    const target = (
      size === 1 && [2, 4, 8].includes(wide)
        ? wide
        : this.parsed.operands[i].size === 'z' && this.osize === 8
          ? 8
          : size
    ) as IntSize;
    if (i > 0 && this.isSecondImmediate(i)) return convert(this.field(record.immediate2, 'i32', 4), 4, target, true);
    if (target === 8) return this.field(record.immediate, 'i64', 8);
    return convert(this.field(record.immediate, 'i32', 4), 4, target, true);
  }

  private isSecondImmediate(i: number): boolean {
    return this.shapes.slice(0, i).some((s) => s.kind === 'immediate');
  }

  write(i: number, value: Expr): void {
    const shape = this.shapes[i];
    const size = shape.width as IntSize;
    if (shape.kind === 'memory') this.store(this.address(i, size, true), size, value);
    else if (shape.kind === 'register') this.writeRegister(this.registerOffset(i), size, value);
    else if (shape.kind === 'mmx') this.putAt(this.registerOffset(i), 0, value, size);
    else throw new Error(`${this.parsed.row.mnemonic}: operand ${i} can not be written as an integer`);
  }

  private writeRegister(offset: Expr, size: IntSize, value: Expr): void {
    if (size === 4) this.putAt(offset, 0, toI64(toI32(value)), 8);
    else this.putAt(offset, 0, value, size);
  }

  modify(i: number, change: (old: Expr) => Expr): void {
    const shape = this.shapes[i];
    if (shape.kind === 'memory') this.modifyMemory(this.address(i, shape.width, true), shape.width as IntSize, change);
    else this.write(i, change(this.read(i)));
  }

  readVector(i: number, half: 0 | 1 = 0): Expr {
    const shape = this.shapes[i];
    if (shape.kind === 'vector') return this.getAt(this.registerOffset(i), half * 16, 'v128', 16);
    if (shape.kind === 'mmx') return op('i64x2.replace_lane', op('i64x2.splat', i64(0)), this.read(i));
    const size = shape.width;
    if (size === 16) {
      const start = this.address(i, this.vectorBytes(i));
      return this.load128(half ? add(start, i64(16)) : this.checkAlignment(start));
    }
    const value = this.load(this.address(i, size), size as IntSize);
    return this.let(
      size === 8
        ? op('i64x2.replace_lane', op('i64x2.splat', i64(0)), value)
        : op('i32x4.replace_lane', op('i64x2.splat', i64(0)), value),
    );
  }

  writeVector(i: number, low: Expr, high?: Expr): void {
    if (this.shapes[i].kind === 'memory') {
      const address = this.let(this.checkAlignment(this.address(i, high ? 32 : 16, true)));
      if (high) this.probeWrite(address, 32);
      this.store128(address, low);
      if (high) this.store128(add(address, i64(16)), high);
      return;
    }
    const offset = this.registerOffset(i);
    this.putAt(offset, 0, low, 16);
    if (high || this.vex) this.putAt(offset, 16, high ?? op('i64x2.splat', i64(0)), 16);
  }

  /** Bytes of vector operand `i` as a whole. */
  private vectorBytes(i: number): number {
    return ['x', 'ps', 'pd', 'qq'].includes(this.parsed.operands[i].size) ? this.vl : 16;
  }

  private checkAlignment(address: Expr): Expr {
    if (!this.parsed.row.aligned) return address;
    const a = this.let(address);
    this.if(and(toI32(a), i32(this.vl - 1)), () => this.raise(state.vector.GP));
    return a;
  }

  address(i: number, size: number = this.shapes[i].width, write = false): Expr {
    const where = this.shapes[i].memory;
    if (where === 'destination') return this.linear(0, this.pointer(state.gpr[7]), size, write);
    if (where === 'source') return this.inRecordSegment(this.pointer(state.gpr[6]), size, write);
    if (where === 'masked') return this.inRecordSegment(this.pointer(state.gpr[7]), size, write);
    if (where === 'moffs') return this.inRecordSegment(this.field(record.immediate, 'i64', 8), size, write);
    return this.inRecordSegment(this.effectiveAddress(i), size, write);
  }

  linearOfOperand(offset: Expr, size: number, write: boolean): Expr {
    return this.inRecordSegment(offset, size, write);
  }

  argument(i: number): Expr {
    return this.get(state.arg[i]);
  }

  bitAddress(i: number, from: number, offset: Expr, size: IntSize, write: boolean): Expr {
    if (this.shapes[from].kind === 'immediate') return this.address(i, size, write);
    const wide = convert(offset, size, 8, true);
    const bytes = shl(shrS(wide, i64(size === 2 ? 4 : size === 4 ? 5 : 6)), i64(size === 2 ? 1 : size === 4 ? 2 : 3));
    const mask = this.field(record.mask, 'i64', 8);
    return this.inRecordSegment(this.let(and(add(this.effectiveAddress(i), bytes), mask)), size, write);
  }

  /** RSI or RDI cut to the address size. */
  private pointer(register: (typeof state.gpr)[number]): Expr {
    const value = this.get(register);
    return this.asize === 8 ? value : and(value, i64(this.asize === 4 ? 0xffffffffn : 0xffff));
  }

  private inRecordSegment(offset: Expr, size: number, write: boolean): Expr {
    if (this.flat) return this.let(add(offset, this.getAt(this.field(record.segmentBase, 'i32', 2), 0, 'i64', 8)));
    return this.segmented(this.field(record.segment, 'i32', 1), offset, size, write);
  }

  private segmented(segment: Expr, offset: Expr, size: number, write: boolean): Expr {
    const failed = this.f.call(
      this.links.runtime.segmentSlow,
      [segment, toI32(offset), i32(size | (write ? 0x100 : 0))],
      'i32',
    ) as Expr;
    this.f.if(failed, () => this.leaveWithFault());
    return this.get({ ...state.slow, type: 'i64' });
  }

  linear(segment: number, offset: Expr, size: number, write: boolean): Expr {
    if (this.long64) return segment < 4 ? offset : add(offset, this.get(state.segments[segment].base));
    if (this.flat && segment < 4) return offset;
    return this.segmented(i32(segment), offset, size, write);
  }

  effectiveAddress(_i: number): Expr {
    const base = this.getAt(this.field(record.base, 'i32', 2), 0, 'i64', 8);
    const index = this.getAt(this.field(record.index, 'i32', 2), 0, 'i64', 8);
    const scaled = shl(index, this.field(record.scale, 'i64', 1));
    const displacement = this.field(record.displacement, 'i64', 8);
    return this.let(and(add(add(base, scaled), displacement), this.field(record.mask, 'i64', 8)));
  }

  vectorIndex(_i: number): Expr {
    return this.field(record.vectorIndex, 'i32', 2);
  }

  indexedAddress(_i: number, index: Expr, size: number): Expr {
    const base = this.getAt(this.field(record.base, 'i32', 2), 0, 'i64', 8);
    const scaled = shl(index, this.field(record.scale, 'i64', 1));
    const offset = add(add(base, scaled), this.field(record.displacement, 'i64', 8));
    return this.inRecordSegment(this.let(and(offset, this.field(record.mask, 'i64', 8))), size, false);
  }

  immediate(i: number): Expr {
    return this.field(this.isSecondImmediate(i) ? record.immediate2 : record.immediate, 'i32', 4);
  }

  immediate2(): Expr {
    return this.field(record.immediate2, 'i32', 4);
  }

  registerOffset(i: number): Expr {
    return this.field(record.registers + 2 * i, 'i32', 2);
  }

  setFlags(kind: FlagsKind, size: IntSize, result: Expr, source: Expr, left?: Expr): void {
    const known = { kind, size, result: this.let(result), source: this.let(source), left: left && this.let(left) };
    this.sequence.known = known;
    this.put(state.flagsKind, i32(flagsCode(kind, size)));
    this.put(state.flagsResult, toI64(known.result));
    this.put(state.flagsSource, toI64(known.source));
  }

  setStepFlags(kind: 'inc' | 'dec', size: IntSize, value: Expr): void {
    const { known } = this.sequence;
    const isStep = known && !known.floats && (known.kind === 'inc' || known.kind === 'dec');
    if (!isStep) this.keepCarry(known !== undefined);
    const result = this.let(value);
    const source = result.type === 'i64' ? i64(1) : i32(1);
    this.sequence.known = { kind, size, result, source, carry: known && knownCondition(known, 2) };
    this.put(state.flagsKind, i32(flagsCode(kind, size)));
    this.put(state.flagsResult, toI64(result));
    this.put(state.flagsSource, i64(1));
  }

  /** @param always the flags are known to be of no INC or DEC, which have kept CF already */
  private keepCarry(always: boolean): void {
    const kind = this.get(state.flagsKind);
    const keep = () => {
      this.put(state.carryKind, kind);
      this.put(state.carryResult, this.get(state.flagsResult));
      this.put(state.carrySource, this.get(state.flagsSource));
    };
    if (always) keep();
    else this.f.if(eqz(keepsCarry(kind)), keep);
  }

  forgetFlags(): void {
    this.sequence.known = undefined;
  }

  putFlags(image: Expr): void {
    this.sequence.known = undefined;
    this.put(state.flagsSource, toI64(and(image, i32(state.arithmeticFlags))));
    this.put(state.flagsKind, i32(flagsCode('image', 4)));
  }

  setComparison(left: Expr, right: Expr): void {
    const is = (name: string) => op(`${left.type}.${name}`, left, right);
    const image = select(is('gt'), i32(0), select(is('lt'), i32(0x01), select(is('eq'), i32(0x40), i32(0x45))));
    this.putFlags(image);
    this.sequence.known = { kind: 'image', size: 4, result: i32(0), source: i32(0), floats: [left, right] };
  }

  constant(e: Expr): Expr {
    return e;
  }

  roundsFast(): Expr {
    return fastRounding(this.get(state.mxcsr));
  }

  isTame(_e: Expr, _lanes: FloatLanes): boolean {
    return false;
  }

  noteTame(_e: Expr, _lanes: FloatLanes): void {}

  insist(_holds: () => Expr): void {}

  overrideFlags(carry: Expr, overflow?: Expr): void {
    this.sequence.known = undefined;
    const { carryValid, overflowValid, carry: carryBit, overflow: overflowBit } = state.flagsOverride;
    const replaced = carryValid | carryBit | (overflow ? overflowValid | overflowBit : 0);
    let bits = or(i32(carryValid), shl(carry, i32(Math.log2(carryBit))));
    if (overflow) bits = or(bits, or(i32(overflowValid), shl(overflow, i32(Math.log2(overflowBit)))));
    this.put(state.flagsKind, or(and(this.get(state.flagsKind), i32(~replaced)), bits));
  }

  getFlags(): Expr {
    return this.call('flags_all');
  }

  condition(code: number): Expr {
    return (this.sequence.known && knownCondition(this.sequence.known, code)) ?? dynamicCondition(this, code);
  }

  ip(): Expr {
    return this.ipAt(this.field(record.offset, 'i64', 2));
  }

  nextIp(): Expr {
    return this.ipAt(add(this.field(record.offset, 'i64', 2), this.field(record.length, 'i64', 1)));
  }

  private ipAt(offset: Expr): Expr {
    const linear = add(this.get(state.page), offset);
    if (this.long64) return this.let(linear);
    return this.let(and(sub(linear, this.get(state.cs.base)), addressMask32));
  }

  jump(ip: Expr): void {
    this.put(state.linear, this.long64 ? ip : and(add(ip, this.get(state.cs.base)), addressMask32));
    this.completion.jump();
  }

  goto(i: number): void {
    if (this.osize === 2) {
      const target = add(this.nextIp(), this.field(record.immediate, 'i64', 8));
      this.jump(and(target, i64(0xffff)));
      return;
    }
    const target = this.field(record.target, 'i32', 4);
    this.f.if(target, () => this.completion.jumpToRecord(target));
    const linear = add(this.get(state.page), op('i64.extend_i32_s', this.field(record.branch, 'i32', 4)));
    this.put(state.linear, this.long64 ? linear : and(linear, addressMask32));
    this.completion.jump();
    void i;
  }

  gotoIf(cond: Expr, i: number): void {
    this.if(cond, () => this.goto(i));
  }

  endBlock(): void {
    this.put(
      state.linear,
      add(this.get(state.page), add(this.field(record.offset, 'i64', 2), this.field(record.length, 'i64', 1))),
    );
    this.completion.leave();
  }

  helper(name: HelperName, ...args: Expr[]): void {
    for (const [i, a] of args.entries()) this.put(state.arg[i], a.type === 'i64' ? a : toI64(a));
    this.put(state.currentIp, this.ip());
    this.put(state.nextIp, this.nextIp());
    this.usedHelper = true;
    const id = helperIds.get(name) as number;
    const answer = this.f.call(this.links.runtime.helper, [i32(id), this.rec], 'i32') as Expr;
    this.sequence.known = undefined;
    this.f.if(answer, () => this.completion.helperStatus(answer));
  }

  privilegeTlb(which: 'kernel' | 'kernelAc' | 'user'): { base: Expr; ready: Expr } {
    const base = which === 'user' ? this.get(state.userTlb) : i32(tlb.base + tlbSets[which] * tlb.stride);
    const setMode = this.f.loadRaw(base, tlb.mode, 'i32', 4);
    return { base, ready: eq(setMode, this.get(state.mode)) };
  }

  readTsc(): Expr {
    this.f.call(this.links.runtime.readTsc, [], 'i32');
    return this.get({ ...state.slow, type: 'i64' });
  }

  /** The loop looks for interrupts behind the next instruction (`check` records). */
  interruptWindow(): void {}

  /** Ends the instruction: a helper may have changed what the rest of the block was decoded for. */
  finish(): void {
    if (this.usedHelper) this.f.if(this.get(state.modeDirty), () => this.endBlock());
  }

  repeat(): void {
    this.completion.repeat();
  }

  protected override leaveWithFault(): void {
    this.completion.fault();
  }

  /** A field of the record. */
  field(offset: number, type: 'i32' | 'i64', bytes: number): Expr {
    return this.f.loadRaw(this.rec, this.at + offset, type, bytes);
  }
}

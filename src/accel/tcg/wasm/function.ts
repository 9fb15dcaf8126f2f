/** Emits the body of one WebAssembly function from IR expressions and structured statements. */
import type { Expr, ValueType, Variable } from '../../../target/index.ts';
import { ByteWriter, type FunctionBody, typeCode } from './writer.ts';

/** A branch target; `level` is the nesting depth of the block or loop it names. */
export interface Label {
  readonly level: number;
}

export class FunctionEmitter {
  private code: ByteWriter = new ByteWriter();
  private readonly localTypes: ValueType[] = [];
  private readonly paramCount: number;
  private readonly free: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  private scope: Variable[] | undefined;
  private depth = 0;
  /** Where in `code` the branches are that are hardly ever taken. */
  private unlikely: number[] = [];

  constructor(params: readonly ValueType[]) {
    this.paramCount = params.length;
    this.localTypes.push(...params);
  }

  param(index: number): Variable {
    return { kind: 'local', type: this.localTypes[index], index };
  }

  /** A fresh local; within `inScope` it is given back at the end of the scope. */
  local(type: ValueType): Variable {
    const reused = this.free[type].pop();
    let index = reused;
    if (index === undefined) {
      index = this.localTypes.length;
      this.localTypes.push(type);
    }
    const variable: Variable = { kind: 'local', type, index };
    this.scope?.push(variable);
    return variable;
  }

  /** A fresh local that no scope gives back. */
  lasting(type: ValueType): Variable {
    this.localTypes.push(type);
    return { kind: 'local', type, index: this.localTypes.length - 1 };
  }

  /** Locals made within `body` are reused afterwards. */
  inScope(body: () => void): void {
    const outer = this.scope;
    this.scope = [];
    body();
    for (const v of this.scope) this.free[v.type].push(v.index);
    this.scope = outer;
  }

  set(variable: Variable, e: Expr): void {
    this.expr(e);
    this.code.u8(0x21);
    this.code.unsigned(variable.index);
  }

  let(e: Expr): Expr {
    if (e.kind === 'const') return e;
    const variable = this.local(e.type);
    this.set(variable, e);
    return variable;
  }

  expr(e: Expr): void {
    const { code } = this;
    switch (e.kind) {
      case 'const':
        this.constant(e);
        return;
      case 'local':
        code.u8(0x20);
        code.unsigned(e.index);
        return;
      case 'op':
        for (const a of e.args) this.expr(a);
        if (e.op.prefix) code.u8(e.op.prefix);
        if (e.op.prefix) code.unsigned(e.op.code);
        else code.u8(e.op.code);
        if (e.op.lane) code.u8(e.lane);
        return;
      case 'select':
        this.expr(e.args[1]);
        this.expr(e.args[2]);
        this.expr(e.args[0]);
        if (e.type === 'v128') {
          code.u8(0x1c);
          code.u8(1);
          code.u8(typeCode.v128);
        } else code.u8(0x1b);
        return;
      case 'shuffle':
        this.expr(e.args[0]);
        this.expr(e.args[1]);
        code.u8(0xfd);
        code.u8(0x0d);
        for (const l of e.lanes) code.u8(l);
        return;
    }
  }

  private constant(e: Extract<Expr, { kind: 'const' }>): void {
    const { code } = this;
    switch (e.type) {
      case 'i32':
        code.u8(0x41);
        code.signed32(e.value as number);
        return;
      case 'i64':
        code.u8(0x42);
        code.signed64(e.value as bigint);
        return;
      case 'f32': {
        code.u8(0x43);
        code.append(new Uint8Array(new Float32Array([e.value as number]).buffer));
        return;
      }
      case 'f64': {
        code.u8(0x44);
        code.append(new Uint8Array(new Float64Array([e.value as number]).buffer));
        return;
      }
      case 'v128':
        code.u8(0xfd);
        code.u8(0x0c);
        code.append(e.value as Uint8Array);
        return;
    }
  }

  /** A memory instruction's opcode and its memarg (alignment hint 0). */
  private memoryOp(prefix: number, opcode: number, offset: number): void {
    if (prefix) this.code.u8(prefix);
    this.code.u8(opcode);
    this.code.unsigned(0);
    this.code.unsigned(offset);
  }

  /** Value of `type` at engine address `address` (i32) + offset; integers of `bytes` bytes are zero-extended. */
  loadRaw(address: Expr, offset: number, type: ValueType, bytes: number): Variable {
    const variable = this.local(type);
    this.expr(address);
    if (type === 'v128') this.memoryOp(0xfd, 0x00, offset);
    else if (type === 'f32') this.memoryOp(0, 0x2a, offset);
    else if (type === 'f64') this.memoryOp(0, 0x2b, offset);
    else if (type === 'i32') this.memoryOp(0, bytes === 1 ? 0x2d : bytes === 2 ? 0x2f : 0x28, offset);
    else this.memoryOp(0, bytes === 1 ? 0x31 : bytes === 2 ? 0x33 : bytes === 4 ? 0x35 : 0x29, offset);
    this.code.u8(0x21);
    this.code.unsigned(variable.index);
    return variable;
  }

  /** Stores the low `bytes` bytes of `value` at engine address `address` (i32) + offset. */
  storeRaw(address: Expr, offset: number, value: Expr, bytes: number): void {
    this.expr(address);
    this.expr(value);
    if (value.type === 'v128') this.memoryOp(0xfd, 0x0b, offset);
    else if (value.type === 'f32') this.memoryOp(0, 0x38, offset);
    else if (value.type === 'f64') this.memoryOp(0, 0x39, offset);
    else if (value.type === 'i32') this.memoryOp(0, bytes === 1 ? 0x3a : bytes === 2 ? 0x3b : 0x36, offset);
    else this.memoryOp(0, bytes === 1 ? 0x3c : bytes === 2 ? 0x3d : bytes === 4 ? 0x3e : 0x37, offset);
  }

  private enter(opcode: number, body: (label: Label) => void): void {
    this.code.u8(opcode);
    this.code.u8(0x40);
    this.depth++;
    body({ level: this.depth });
    this.depth--;
    this.code.u8(0x0b);
  }

  /** `branch(label)` leaves the block at its end. */
  block(body: (label: Label) => void): void {
    this.enter(0x02, body);
  }

  /** `branch(label)` goes to the loop's start; falling off the end leaves it. */
  loop(body: (label: Label) => void): void {
    this.enter(0x03, body);
  }

  if(cond: Expr, then: () => void, otherwise?: () => void): void {
    this.expr(cond);
    this.enter(0x04, () => {
      then();
      if (otherwise) {
        this.code.u8(0x05);
        otherwise();
      }
    });
  }

  /** `if`, for what hardly ever happens: kept out of the way of the rest. */
  ifUnlikely(cond: Expr, then: () => void): void {
    this.expr(cond);
    this.unlikely.push(this.code.length);
    this.enter(0x04, then);
  }

  branch(label: Label): void {
    this.code.u8(0x0c);
    this.code.unsigned(this.depth - label.level);
  }

  branchIf(cond: Expr, label: Label): void {
    this.expr(cond);
    this.code.u8(0x0d);
    this.code.unsigned(this.depth - label.level);
  }

  branchTable(index: Expr, labels: readonly Label[], fallback: Label): void {
    this.expr(index);
    this.code.u8(0x0e);
    this.code.unsigned(labels.length);
    for (const l of [...labels, fallback]) this.code.unsigned(this.depth - l.level);
  }

  return(value?: Expr): void {
    if (value) this.expr(value);
    this.code.u8(0x0f);
  }

  /** Says that the code behind here is never reached. */
  unreachable(): void {
    this.code.u8(0x00);
  }

  call(functionIndex: number, args: readonly Expr[], result: ValueType | undefined): Expr | undefined {
    for (const a of args) this.expr(a);
    this.code.u8(0x10);
    this.code.unsigned(functionIndex);
    return this.takeResult(result);
  }

  callIndirect(
    typeIndex: number,
    tableElement: Expr,
    args: readonly Expr[],
    result: ValueType | undefined,
  ): Expr | undefined {
    for (const a of args) this.expr(a);
    this.expr(tableElement);
    this.code.u8(0x11);
    this.code.unsigned(typeIndex);
    this.code.unsigned(0);
    return this.takeResult(result);
  }

  /** Ends the function with a call of a table element of the function's own result type. */
  returnCallIndirect(typeIndex: number, tableElement: Expr, args: readonly Expr[]): void {
    for (const a of args) this.expr(a);
    this.expr(tableElement);
    this.code.u8(0x13);
    this.code.unsigned(typeIndex);
    this.code.unsigned(0);
  }

  /** memory.copy(destination, source, length), all i32. */
  memoryCopy(destination: Expr, source: Expr, length: Expr): void {
    for (const e of [destination, source, length]) this.expr(e);
    for (const byte of [0xfc, 0x0a, 0, 0]) this.code.u8(byte);
  }

  /** memory.fill(destination, byte, length), all i32. */
  memoryFill(destination: Expr, value: Expr, length: Expr): void {
    for (const e of [destination, value, length]) this.expr(e);
    for (const byte of [0xfc, 0x0b, 0]) this.code.u8(byte);
  }

  private takeResult(result: ValueType | undefined): Expr | undefined {
    if (!result) return undefined;
    const variable = this.local(result);
    this.code.u8(0x21);
    this.code.unsigned(variable.index);
    return variable;
  }

  /** What `emit` emits comes before all that was emitted so far. */
  prepend(emit: () => void): void {
    const { code, unlikely } = this;
    this.code = new ByteWriter();
    this.unlikely = [];
    emit();
    const start = this.code.length;
    this.code.append(code.bytes.subarray(0, code.length));
    this.unlikely.push(...unlikely.map((at) => start + at));
  }

  finish(): FunctionBody {
    const out = new ByteWriter();
    const own = this.localTypes.slice(this.paramCount);
    out.unsigned(own.length);
    for (const type of own) {
      out.unsigned(1);
      out.u8(typeCode[type]);
    }
    const start = out.length;
    out.append(this.code.bytes.subarray(0, this.code.length));
    out.u8(0x0b);
    return { bytes: out.finish(), unlikely: this.unlikely.map((at) => start + at) };
  }
}

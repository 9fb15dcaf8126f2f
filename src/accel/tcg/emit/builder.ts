/** The IR's builder over WebAssembly: statements that any generated function may use. */
import {
  add,
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  type Field,
  geU,
  type IntSize,
  i32,
  i64,
  type LibraryFunction,
  ltS,
  ltU,
  modeBits,
  mul,
  op,
  or,
  select,
  shrU,
  state,
  sub,
  toI32,
  toI64,
  type ValueType,
  type Variable,
  xor,
} from '../../../target/index.ts';
import { stateBase, tlb } from '../layout.ts';
import type { FunctionEmitter } from '../wasm/function.ts';
import type { RuntimeFunction } from './core-types.ts';

/** Function indices of the module being built. */
export interface Links {
  readonly runtime: Readonly<Record<RuntimeFunction, number>>;
  /** Index of the type of handlers and regions. */
  readonly handlerType: number;
  /** Index of a library function; a module of handlers imports what it uses. */
  library(name: string): { readonly index: number; readonly function: LibraryFunction };
}

const zeroAddress = i32(0);

const toPageEnd = (host: Expr): Expr => sub(i32(0x1000), and(host, i32(0xfff)));
const smaller = (a: Expr, b: Expr): Expr => select(ltU(a, b), a, b);

export class WasmBuilder implements Builder {
  readonly f: FunctionEmitter;
  protected readonly links: Links;

  constructor(f: FunctionEmitter, links: Links) {
    this.f = f;
    this.links = links;
  }

  let(e: Expr): Expr {
    return this.f.let(e);
  }

  variable(init: Expr): Variable {
    const v = this.f.local(init.type);
    this.f.set(v, init);
    return v;
  }

  set(variable: Variable, e: Expr): void {
    this.f.set(variable, e);
  }

  if(cond: Expr, then: () => void, otherwise?: () => void): void {
    if (cond.type !== 'i32') throw new Error(`the condition of an if is ${cond.type}`);
    if (cond.kind === 'const') {
      if (cond.value) then();
      else otherwise?.();
      return;
    }
    this.f.if(cond, then, otherwise);
  }

  ifUnlikely(cond: Expr, then: () => void): void {
    if (cond.kind === 'const') this.if(cond, then);
    else this.f.ifUnlikely(cond, then);
  }

  loop(body: (again: () => void) => void): void {
    this.f.loop((label) => body(() => this.f.branch(label)));
  }

  get(field: Field): Expr {
    return this.f.loadRaw(zeroAddress, stateBase + field.offset, field.type, 8);
  }

  put(field: Field, e: Expr): void {
    if (e.type !== field.type) throw new Error(`put ${field.name}: ${e.type} into ${field.type}`);
    this.f.storeRaw(zeroAddress, stateBase + field.offset, e, 8);
  }

  getAt(offset: Expr, displacement: number, type: ValueType, bytes: number): Expr {
    return this.f.loadRaw(offset, stateBase + displacement, type, bytes);
  }

  putAt(offset: Expr, displacement: number, e: Expr, bytes: number): void {
    this.f.storeRaw(offset, stateBase + displacement, e, bytes);
  }

  load(address: Expr, size: IntSize): Expr {
    const a = this.f.let(address);
    const out = this.f.local(size === 8 ? 'i64' : 'i32');
    const entry = this.tlbEntry(a);
    this.f.if(
      this.hit(entry, tlb.readTag, a, size),
      () => this.f.set(out, this.f.loadRaw(this.host(entry, a), 0, out.type, size)),
      () => {
        this.slowAccess('loadSlow', a, size);
        this.f.set(out, this.slowValue(out.type, size));
      },
    );
    return out;
  }

  store(address: Expr, size: IntSize, value: Expr): void {
    const a = this.f.let(address);
    const v = this.f.let(value);
    const entry = this.tlbEntry(a);
    this.f.if(
      this.hit(entry, tlb.writeTag, a, size),
      () => this.f.storeRaw(this.host(entry, a), 0, v, size),
      () => this.storeSlowly(a, size, v),
    );
  }

  load128(address: Expr): Expr {
    const a = this.f.let(address);
    const out = this.f.local('v128');
    const entry = this.tlbEntry(a);
    this.f.if(
      this.hit(entry, tlb.readTag, a, 16),
      () => this.f.set(out, this.f.loadRaw(this.host(entry, a), 0, 'v128', 16)),
      () => {
        this.slowAccess('loadSlow', a, 16);
        this.f.set(out, this.get(state.slow));
      },
    );
    return out;
  }

  store128(address: Expr, value: Expr): void {
    const a = this.f.let(address);
    const v = this.f.let(value);
    const entry = this.tlbEntry(a);
    this.f.if(
      this.hit(entry, tlb.writeTag, a, 16),
      () => this.f.storeRaw(this.host(entry, a), 0, v, 16),
      () => {
        this.put(state.slow, v);
        this.slowAccess('storeSlow', a, 16);
      },
    );
  }

  probeWrite(address: Expr, size: number): void {
    const a = this.f.let(address);
    this.f.if(
      this.hit(this.tlbEntry(a), tlb.writeTag, a, size),
      () => {},
      () => this.slowAccess('probeSlow', a, size),
    );
  }

  /** Reads, changes and writes back; the store is known to succeed before `change` runs. */
  modifyMemory(address: Expr, size: IntSize, change: (old: Expr) => Expr): void {
    const a = this.f.let(address);
    const type = size === 8 ? 'i64' : 'i32';
    const old = this.f.local(type);
    const host = this.f.local('i32');
    const entry = this.tlbEntry(a);
    this.f.if(
      this.hit(entry, tlb.writeTag, a, size),
      () => {
        this.f.set(host, this.host(entry, a));
        this.f.set(old, this.f.loadRaw(host, 0, type, size));
      },
      () => {
        this.slowAccess('probeSlow', a, size);
        this.slowAccess('loadSlow', a, size);
        this.f.set(old, this.slowValue(type, size));
        this.f.set(host, i32(0));
      },
    );
    const value = this.f.let(change(old));
    this.f.if(
      host,
      () => this.f.storeRaw(host, 0, value, size),
      () => this.storeSlowly(a, size, value),
    );
  }

  call(name: string, ...args: Expr[]): Expr {
    const { index, function: target } = this.links.library(name);
    args.forEach((a, i) => {
      if (a.type !== target.params[i]) throw new Error(`${name}: argument ${i} is ${a.type}, not ${target.params[i]}`);
    });
    if (args.length !== target.params.length)
      throw new Error(`${name} takes ${target.params.length} arguments, not ${args.length}`);
    return this.f.call(index, args, target.result) as Expr;
  }

  raise(vector: number, error?: Expr): void {
    this.put(state.faultVector, i32(vector));
    this.put(state.faultError, error ?? i32(0));
    this.leaveWithFault();
  }

  /** How this kind of function says that an exception is pending. */
  protected leaveWithFault(): void {
    throw new Error('a library function can not fault');
  }

  bulkMove(destination: Expr, source: Expr, bytes: Expr): Expr {
    const done = this.variable(i64(0));
    this.bulk(destination, bytes, (to, within) => {
      const from = this.let(source);
      const entry = this.tlbEntry(from);
      this.if(this.hit(entry, tlb.readTag, from, 1), () => {
        const sourceHost = this.let(this.host(entry, from));
        const n = this.let(smaller(within, and(sub(i32(0x1000), and(sourceHost, i32(0xfff))), i32(-8))));
        this.if(and(geU(sub(to, sourceHost), n), ltS(i32(0), n)), () => {
          this.f.memoryCopy(to, sourceHost, n);
          this.set(done, toI64(n));
        });
      });
    });
    return done;
  }

  bulkFill(destination: Expr, value: Expr, bytes: Expr, width: number): Expr {
    const done = this.variable(i64(0));
    const spread = { 1: 0x0101010101010101n, 2: 0x0001000100010001n, 4: 0x0000000100000001n, 8: 1n }[width] as bigint;
    this.bulk(destination, bytes, (to, n) => {
      this.set(done, toI64(n));
      if (width === 1) {
        this.f.memoryFill(to, value, n);
        return;
      }
      const pattern = this.let(mul(toI64(value), i64(spread)));
      this.if(
        eq(pattern, op('i64.rotl', pattern, i64(8))),
        () => this.f.memoryFill(to, toI32(pattern), n),
        () => {
          const at = this.variable(to);
          const end = this.let(add(to, n));
          this.loop((again) => {
            this.f.storeRaw(at, 0, pattern, 8);
            this.set(at, add(at, i32(8)));
            this.if(ltU(at, end), again);
          });
        },
      );
    });
    return done;
  }

  bulkScan(at: Expr, other: Expr, otherIsAddress: boolean, bytes: Expr, width: IntSize, untilEqual: boolean): Expr {
    const done = this.variable(i64(0));
    const shape = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' }[width];
    const run = (from: Expr, limit: Expr, operand: (passed: Expr) => Expr): void => {
      const passed = this.variable(i32(0));
      this.if(limit, () =>
        this.loop((again) => {
          const equal = op(`${shape}.eq`, this.f.loadRaw(add(from, passed), 0, 'v128', 16), operand(passed));
          this.if(untilEqual ? eqz(op('v128.any_true', equal)) : op(`${shape}.all_true`, equal), () => {
            this.set(passed, add(passed, i32(16)));
            this.if(ltU(passed, limit), again);
          });
        }),
      );
      this.set(done, toI64(passed));
    };
    this.if(this.mayBulk(), () => {
      this.withRead(at, (from) => {
        const left = this.let(select(geU(bytes, i64(0x1000)), i32(0x1000), toI32(bytes)));
        const limit = smaller(left, toPageEnd(from));
        if (otherIsAddress) {
          this.withRead(other, (second) => {
            const shared = this.let(and(smaller(this.let(limit), toPageEnd(second)), i32(-16)));
            run(from, shared, (passed) => this.f.loadRaw(add(second, passed), 0, 'v128', 16));
          });
        } else {
          const pattern = this.let(op(`${shape}.splat`, other));
          run(from, this.let(and(limit, i32(-16))), () => pattern);
        }
      });
    });
    return done;
  }

  /** Runs `body(engine address)` if the TLB lets a byte at a linear address be read. */
  private withRead(address: Expr, body: (host: Expr) => void): void {
    const a = this.let(address);
    const entry = this.tlbEntry(a);
    this.if(this.hit(entry, tlb.readTag, a, 1), () => body(this.let(this.host(entry, a))));
  }

  /** Whether many elements may be done at once: upwards, and not in single steps. */
  private mayBulk(): Expr {
    return eqz(or(and(this.get(state.eflags), i32(state.flag.DF)), and(this.get(state.mode), i32(modeBits.step))));
  }

  /** Runs `body(host address, bytes)` when DF is 0, the destination may be written, and there is something to do. */
  private bulk(destination: Expr, bytes: Expr, body: (to: Expr, n: Expr) => void): void {
    this.if(this.mayBulk(), () => {
      const a = this.let(destination);
      const entry = this.tlbEntry(a);
      this.if(this.hit(entry, tlb.writeTag, a, 1), () => {
        const to = this.let(this.host(entry, a));
        const left = this.let(select(geU(bytes, i64(0x1000)), i32(0x1000), toI32(bytes)));
        const n = this.let(and(smaller(left, sub(i32(0x1000), and(to, i32(0xfff)))), i32(-8)));
        this.if(n, () => body(to, n));
      });
    });
  }

  /** Engine address (i32) of the TLB entry for linear address `a`. */
  protected tlbEntry(a: Expr): Expr {
    const low = this.f.let(toI32(a));
    const folded = shrU(xor(low, shrU(low, i32(tlb.foldShift))), i32(12 - tlb.entryShift));
    const index = and(folded, i32((tlb.entries - 1) << tlb.entryShift));
    return this.f.let(add(index, this.tlbSet()));
  }

  /** Engine address (i32) of the TLB set in use. */
  protected tlbSet(): Expr {
    return this.get(state.tlbBase);
  }

  /** An access that crosses a page misses: its last byte's page has another entry. */
  protected hit(entry: Expr, tagOffset: number, a: Expr, size: number): Expr {
    const last = size === 1 ? a : add(a, i64(size - 1));
    const page = this.f.let(and(last, i64(-4096)));
    return eq(this.f.loadRaw(entry, tagOffset, 'i64', 8), page);
  }

  protected host(entry: Expr, a: Expr): Expr {
    return add(toI32(a), this.f.loadRaw(entry, tlb.addend, 'i32', 4));
  }

  /** What a slow load left behind; bytes beyond `size` are stale. */
  private slowValue(type: ValueType, size: IntSize): Expr {
    return this.f.loadRaw(zeroAddress, stateBase + state.slow.offset, type, size);
  }

  /** Moves `size` bytes (i32: 1, 2, 4, 8 or 16) between state `slow` and linear address `a`, whose page the TLB has. */
  moveSlow(a: Expr, size: Expr, toGuest: boolean): void {
    const host = this.f.let(this.host(this.tlbEntry(a), a));
    const slow = i32(stateBase + state.slow.offset);
    const [to, from] = toGuest ? [host, slow] : [slow, host];
    for (const n of [8, 4, 1, 2, 16]) {
      const type = n === 16 ? 'v128' : n === 8 ? 'i64' : 'i32';
      this.f.if(eq(size, i32(n)), () => this.f.storeRaw(to, 0, this.f.loadRaw(from, 0, type, n), n));
    }
  }

  private storeSlowly(a: Expr, size: IntSize, value: Expr): void {
    this.put({ ...state.slow, type: 'i64' }, value.type === 'i64' ? value : op('i64.extend_i32_u', value));
    this.slowAccess('storeSlow', a, size);
  }

  protected slowAccess(name: RuntimeFunction, a: Expr, size: number): void {
    const failed = this.f.call(this.links.runtime[name], [toI32(a), toI32(shrU(a, i64(32))), i32(size)], 'i32') as Expr;
    this.f.if(failed, () => this.leaveWithFault());
  }
}

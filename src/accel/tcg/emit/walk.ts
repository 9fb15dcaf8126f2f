/**
 * TLB misses in generated code: the walk of 4- and 5-level page tables for data accesses, and the filling of the entry. What
 * is rare is left to the engine (mmu.ts, target/x86/system/paging.ts, which does all of it): other paging modes, devices,
 * pages with decoded code, data breakpoints, accesses across two pages, and a log of dirty pages.
 */
import {
  add,
  and,
  cr0Bits,
  cr4Bits,
  type Expr,
  eferBits,
  eq,
  eqz,
  i32,
  i64,
  ltS,
  ltU,
  ne,
  op,
  or,
  pageAccess,
  pageEntry,
  reservedError,
  select,
  shl,
  shrS,
  shrU,
  state,
  sub,
  toI32,
  toI64,
  type Variable,
  xor,
} from '../../../target/index.ts';
import { codePages, tlb, walk } from '../layout.ts';
import { entryFlags } from '../tlb.ts';
import { FunctionEmitter, type Label } from '../wasm/function.ts';
import type { FunctionBody } from '../wasm/writer.ts';
import { type Links, WasmBuilder } from './builder.ts';
import { coreFunctions, filled, fillWrite } from './core-types.ts';

/** What the walk is to know of the machine. */
export interface WalkOptions {
  readonly ranges: readonly { readonly base: number; readonly size: number; readonly offset: number }[];
  readonly physicalBits: number;
  readonly hasGigabytePages: boolean;
}

const addressMask = 0x000f_ffff_ffff_f000n;
/** The lowest bit of a linear address that each level's table is indexed by. */
const levels = [48, 39, 30, 21, 12];
const zero = i32(0);
const isSet = (e: Expr, bits: number): Expr => ne(and(e, i32(bits)), zero);

/** (address, size | `fillWrite`) → one of `filled`. */
export function emitFill(links: Links, options: WalkOptions): FunctionBody {
  const f = new FunctionEmitter(coreFunctions.fill.params);
  new WalkEmitter(f, links, options).emit(f.param(0), f.param(1));
  f.expr(i32(filled.yes));
  return f.finish();
}

class WalkEmitter extends WasmBuilder {
  private readonly options: WalkOptions;

  constructor(f: FunctionEmitter, links: Links, options: WalkOptions) {
    super(f, links);
    this.options = options;
  }

  emit(address: Variable, access: Variable): void {
    const { f } = this;
    const size = and(access, i32(fillWrite - 1));
    const isWrite = this.let(shrU(access, i32(Math.log2(fillWrite))));
    const user = this.let(eq(this.get(state.cpl), i32(3)));
    const cr4 = this.get(state.cr4);
    const efer = this.let(toI32(this.get(state.efer)));
    const isWide = this.let(isSet(cr4, cr4Bits.LA57));
    const unused = this.let(select(isWide, i64(7), i64(16)));
    const isOurs = [
      ltU(add(and(toI32(address), i32(0xfff)), size), i32(0x1001)),
      eq(shrS(shl(address, unused), unused), address),
      ltS(this.get(state.cr0), zero),
      isSet(efer, eferBits.LMA),
      eq(this.get(state.a20Mask), i32(-1)),
      eqz(and(toI32(this.get(state.dr[7])), i32(0xff))),
      eqz(f.loadRaw(zero, walk.off, 'i32', 4)),
    ];
    this.unlessThenAsk(isOurs.reduce((a, b) => and(a, b)));
    f.storeRaw(zero, walk.count, add(f.loadRaw(zero, walk.count, 'i32', 4), i32(1)), 4);
    const fault = (cause: number): void => {
      const rights = or(select(isWrite, i32(pageAccess.write), zero), select(user, i32(pageAccess.user), zero));
      this.put(state.faultVector, i32(state.vector.PF));
      this.put(state.faultError, or(rights, i32(cause)));
      this.put(state.faultAddress, address);
      f.return(i32(filled.fault));
    };
    const found = this.walkTables(address, efer, isWide, fault);
    const isUserPage = this.let(isSet(toI32(found.rights), pageEntry.user));
    const flags = this.get(state.eflags);
    const smap = and(and(isUserPage, isSet(cr4, cr4Bits.SMAP)), eqz(and(flags, i32(state.flag.AC))));
    const mayAccess = this.let(select(user, isUserPage, eqz(smap)));
    const isWritable = isSet(toI32(found.rights), pageEntry.writable);
    const unprotected = and(eqz(user), eqz(and(this.get(state.cr0), i32(cr0Bits.WP))));
    const mayWrite = this.let(and(mayAccess, or(isWritable, unprotected)));
    f.if(eqz(select(isWrite, mayWrite, mayAccess)), () => fault(pageEntry.present));
    const host = this.hostOf(found.page);
    this.unlessThenAsk(eqz(this.mayHaveCode(host)));
    this.markAccessed(found.visited, isWrite);
    const leaf = toI32(found.leaf);
    const canWrite = and(mayWrite, or(isWrite, isSet(leaf, pageEntry.dirty)));
    const isGlobal = this.let(and(isSet(leaf, pageEntry.global), isSet(cr4, cr4Bits.PGE)));
    this.enter(address, host, mayAccess, canWrite, isGlobal);
    this.noteLargePage(address, found.sizeBits);
  }

  /** Leaves it to the engine unless a condition holds. */
  private unlessThenAsk(condition: Expr): void {
    this.f.if(eqz(condition), () => this.f.return(i32(filled.unknown)));
  }

  /** Where a guest physical address (i64) lies in the engine's memory (i32); asks the engine where there is no RAM. */
  private hostOf(physical: Expr): Expr {
    const { f } = this;
    const host = f.local('i32');
    f.block((found) => {
      for (const { base, size, offset } of this.options.ranges) {
        const within = f.let(sub(physical, i64(base)));
        f.if(ltU(within, i64(size)), () => {
          f.set(host, add(toI32(within), i32(offset | 0)));
          f.branch(found);
        });
      }
      f.return(i32(filled.unknown));
    });
    return host;
  }

  private walkTables(address: Variable, efer: Expr, isWide: Expr, fault: (cause: number) => void) {
    const { f } = this;
    const { physicalBits, hasGigabytePages } = this.options;
    const reservedAbove = addressMask & ~((1n << BigInt(physicalBits)) - 1n);
    // Without EFER.NXE, bit 63 is reserved too.
    const reserved = this.let(
      select(isSet(efer, eferBits.NXE), i64(reservedAbove), i64(BigInt.asIntN(64, reservedAbove | (1n << 63n)))),
    );
    const rights = this.variable(i64(-1n));
    const page = f.local('i64');
    const leaf = f.local('i64');
    const sizeBits = this.variable(i32(12));
    const table = this.variable(and(this.get(state.cr3), i64(addressMask)));
    const visited: { host: Variable; entry: Variable; isLeaf: Variable }[] = [];
    f.block((done) => {
      const step = (shift: number): void => {
        const index = and(shrU(address, i64(shift - 3)), i64(511 << 3));
        const host = this.variable(this.hostOf(this.let(or(table, index))));
        const entry = f.local('i64');
        f.set(entry, f.loadRaw(host, 0, 'i64', 8));
        // Levels that are not reached have an entry of 0, which `markAccessed` passes over.
        const isLeaf = this.variable(i32(shift === 12 ? 1 : 0));
        visited.push({ host, entry, isLeaf });
        f.if(eqz(and(toI32(entry), i32(pageEntry.present))), () => fault(0));
        f.if(ne(and(entry, reserved), i64(0)), () => fault(pageEntry.present | reservedError));
        f.set(rights, and(rights, entry));
        if (shift > 12)
          this.largePage({ address, shift, entry, isLeaf, hasGigabytePages, page, sizeBits, done, fault });
        f.set(table, and(entry, i64(addressMask)));
      };
      for (const shift of levels) {
        if (shift === 48) f.if(isWide, () => step(shift));
        else step(shift);
      }
      f.set(page, table);
    });
    // The entry that was read last.
    f.set(leaf, visited[visited.length - 1].entry);
    for (const { entry, isLeaf } of visited) f.if(isLeaf, () => f.set(leaf, entry));
    return { rights, page, leaf, sizeBits, visited };
  }

  private largePage(at: {
    address: Variable;
    shift: number;
    entry: Variable;
    isLeaf: Variable;
    hasGigabytePages: boolean;
    page: Variable;
    sizeBits: Variable;
    done: Label;
    fault: (cause: number) => void;
  }): void {
    const { f } = this;
    const { shift, entry } = at;
    f.if(isSet(toI32(entry), pageEntry.large), () => {
      const reserved = () => at.fault(pageEntry.present | reservedError);
      if (shift > 30 || (shift === 30 && !at.hasGigabytePages)) {
        reserved();
        return;
      }
      const offset = (1n << BigInt(shift)) - 0x1000n;
      // Bit 12 is the PAT bit.
      f.if(ne(and(entry, i64(offset & ~0x1000n)), i64(0)), reserved);
      f.set(at.page, or(and(entry, i64(addressMask & ~offset)), and(at.address, i64(offset))));
      f.set(at.sizeBits, i32(shift));
      f.set(at.isLeaf, i32(1));
      f.branch(at.done);
    });
  }

  private markAccessed(visited: readonly { host: Variable; entry: Variable; isLeaf: Variable }[], isWrite: Expr): void {
    const { f } = this;
    for (const { host, entry, isLeaf } of visited) {
      const low = this.let(toI32(entry));
      const dirty = select(and(isLeaf, isWrite), i32(pageEntry.accessed | pageEntry.dirty), i32(pageEntry.accessed));
      const missing = and(this.let(dirty), xor(low, i32(-1)));
      f.if(and(missing, sub(zero, and(low, i32(pageEntry.present)))), () =>
        f.storeRaw(host, 0, or(low, this.let(missing)), 4),
      );
    }
  }

  private mayHaveCode(host: Expr): Expr {
    const page = this.let(shrU(host, i32(12)));
    const byte = this.f.loadRaw(shrU(page, i32(3)), codePages.base, 'i32', 1);
    return and(shrU(byte, and(page, i32(7))), i32(1));
  }

  private enter(address: Expr, host: Expr, canRead: Expr, canWrite: Expr, isGlobal: Expr): void {
    const { f } = this;
    const entry = this.tlbEntry(address);
    const start = this.let(and(address, i64(-4096)));
    f.storeRaw(entry, tlb.readTag, select(canRead, start, i64(-1n)), 8);
    f.storeRaw(entry, tlb.writeTag, select(canWrite, start, i64(-1n)), 8);
    f.storeRaw(entry, tlb.addend, sub(host, toI32(start)), 4);
    const listed = this.let(select(isGlobal, i32(entryFlags.inGlobal), i32(entryFlags.inLocal)));
    const old = this.let(and(f.loadRaw(entry, tlb.flags, 'i32', 4), i32(entryFlags.inLocal | entryFlags.inGlobal)));
    const global = select(isGlobal, i32(entryFlags.global), zero);
    f.storeRaw(entry, tlb.flags, or(or(old, listed), global), 4);
    f.if(eqz(and(old, listed)), () => {
      const set = this.tlbSet();
      const counter = this.let(add(set, select(isGlobal, i32(tlb.globalCount), i32(tlb.localCount))));
      const list = add(set, select(isGlobal, i32(tlb.globalList), i32(tlb.localList)));
      const count = f.loadRaw(counter, 0, 'i32', 4);
      f.storeRaw(add(list, shl(count, i32(2))), 0, shrU(entry, i32(2)), 4);
      f.storeRaw(counter, 0, add(count, i32(1)), 4);
    });
  }

  /** INVLPG anywhere in a large page forgets all of it (tlb.ts). */
  private noteLargePage(address: Expr, sizeBits: Expr): void {
    const { f } = this;
    f.if(ne(sizeBits, i32(12)), () => {
      const pages = shl(i64(1), toI64(sub(sizeBits, i32(12))));
      const page = and(shrU(address, i64(12)), i64(0x1fff_ffff_ffffn));
      const within = this.let(sub(pages, i64(1)));
      const first = this.let(and(page, xor(within, i64(-1n))));
      const range = this.let(select(op('i64.lt_s', address, i64(0)), i32(16), zero));
      const number = (e: Expr): Expr => op('f64.convert_i64_s', e);
      const note = (offset: number, name: string, value: Expr) => {
        const at = walk.largePages + offset;
        f.storeRaw(range, at, op(name, f.loadRaw(range, at, 'f64', 8), value), 8);
      };
      note(0, 'f64.min', number(first));
      note(8, 'f64.max', number(or(first, within)));
    });
  }
}

/** A write across two pages may be done when both may be written. */
function emitProbeAcross(f: FunctionEmitter, links: Links, address: Expr, size: Expr): void {
  const next = f.let(and(add(address, toI64(sub(size, i32(1)))), i64(-4096)));
  f.if(ne(next, and(address, i64(-4096))), () => {
    const fill = (at: Expr, isThere: () => void): void => {
      const answer = f.let(f.call(links.runtime.fill, [at, i32(fillWrite | 1)], 'i32') as Expr);
      f.if(eq(answer, i32(filled.fault)), () => f.return(i32(1)));
      f.if(eqz(answer), isThere);
    };
    fill(address, () => fill(next, () => f.return(i32(0))));
  });
}

/** What `loadSlow`, `storeSlow` and `probeSlow` do before they ask the engine's function of the same name. */
export function emitSlowAccess(
  name: 'loadSlow' | 'storeSlow' | 'probeSlow',
  links: Links,
  engineFunction: number,
): FunctionBody {
  const f = new FunctionEmitter(coreFunctions[name].params);
  const b = new WasmBuilder(f, links);
  const [low, high, size] = [f.param(0), f.param(1), f.param(2)];
  const address = b.let(or(toI64(low), shl(toI64(high), i64(32))));
  const access = name === 'loadSlow' ? size : or(size, i32(fillWrite));
  if (name === 'probeSlow') emitProbeAcross(f, links, address, size);
  const answer = b.let(f.call(links.runtime.fill, [address, access], 'i32') as Expr);
  f.if(eq(answer, i32(filled.fault)), () => f.return(i32(1)));
  f.if(eq(answer, i32(filled.unknown)), () => f.return(f.call(engineFunction, [low, high, size], 'i32') as Expr));
  if (name !== 'probeSlow') b.moveSlow(address, size, name === 'storeSlow');
  f.expr(i32(0));
  return f.finish();
}

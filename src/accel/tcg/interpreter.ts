/**
 * The interpreter tier: a generated loop over decoded records.
 *
 * `run` holds the hot handlers as cases of one switch. All other handlers are
 * functions behind a table, emitted when the decoder first meets them. Both
 * come from the same semantics through HandlerBuilder.
 */
import {
  add,
  and,
  deliverPageFault,
  type Expr,
  emitUnitCheck,
  eq,
  eqz,
  i32,
  i64,
  leU,
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
} from '../../target/index.ts';
import { type Links, WasmBuilder } from './emit/builder.ts';
import { coreFunctions, exit, handlerType, type RuntimeImport, runtimeImports, status } from './emit/core-types.ts';
import { DeliveryBuilder } from './emit/delivery.ts';
import { type Completion, HandlerBuilder, noKnowledge } from './emit/handler.ts';
import { buildFunctionModule, findLibrary, libraryType, type ModuleShape } from './emit/module.ts';
import { emitFill, emitSlowAccess, type WalkOptions } from './emit/walk.ts';
import type { HotCase } from './hot.ts';
import { departures, entryTable, record, stateBase, tlb } from './layout.ts';
import { FunctionEmitter, type Label } from './wasm/function.ts';
import { type FunctionBody, ModuleBuilder } from './wasm/writer.ts';

/** Cases of the loop's switch that are not instructions. */
export const ops = {
  /** Call the handler in the table. */
  call: 0,
  /** Look up the page's entry table at this record's own address: stale code, page ends. */
  lookup: 1,
  /** Go on at record `target`: the next instruction was decoded before. */
  link: 2,
  /** Look for interrupts, then go on with the next record (behind an interrupt shadow). */
  check: 3,
  /**
   * An instruction that goes on in the next page: go to record `target` if the execute TLB still gives that page the
   * entry table in `immediate`, else leave for the engine.
   */
  stop: 4,
  /** Leave after a single step. */
  step: 5,
  /** Run the translated region whose function is the record's handler. */
  region: 6,
  /** First case of inlined instructions. */
  firstInline: 7,
} as const;

export type RuntimeFunctions = Record<RuntimeImport, (...args: number[]) => number>;

export interface InterpreterOptions {
  readonly memory: WebAssembly.Memory;
  readonly pages: { readonly initial: number; readonly maximum: number };
  readonly libraries: ModuleShape['libraries'];
  readonly inline: readonly HotCase[];
  readonly runtime: RuntimeFunctions;
  readonly walk: WalkOptions;
}

/**
 * So often a place is come to from regions before one begins there too: as often as makes up for translating it. Slices
 * end too seldom to find the many such places of a kernel.
 */
const hotDepartures = 1024;

/** Most functions there can be: a record names one in 16 bits. */
const tableLimit = 0x1_0000;
/** Regions leave this many places to handlers, of which there are far fewer (rows times variants in use). */
const reservedForHandlers = 0x2000;

export class Interpreter {
  /** Runs from a record, or with 0 from state `linear`, until something needs the engine; returns an `exit`. */
  readonly run: (record: number) => number;
  private readonly options: InterpreterOptions;
  private readonly table: WebAssembly.Table;
  private readonly shape: ModuleShape;
  /** What modules import; the first one, which has the loop, gives to the others. */
  private readonly imports: Record<'env' | 'runtime' | 'library', object>;
  private handlerCount = 0;
  private readonly freeHandlers: number[] = [];

  constructor(options: InterpreterOptions) {
    this.options = options;
    this.table = new WebAssembly.Table({ element: 'anyfunc', initial: tableLimit });
    this.shape = { pages: options.pages, libraries: options.libraries };
    const { memory, runtime } = options;
    const env = { memory, table: this.table };
    this.imports = { env, runtime, library: {} };
    const core = this.buildCore();
    this.run = core.run;
    this.imports = { env, runtime: { ...runtime, ...core }, library: core };
  }

  /** Emits a handler function and returns its index in the table. */
  addHandler(parsed: ParsedRow, variant: Variant): number {
    const bytes = buildFunctionModule(this.shape, (links) => emitHandler(links, parsed, variant));
    return this.addFunction(new WebAssembly.Module(bytes));
  }

  /** Puts the function (record) → status of a module (see emit/module.ts) into the table. */
  addFunction(module: WebAssembly.Module): number {
    const index = this.freeHandlers.pop() ?? this.handlerCount++;
    if (index >= tableLimit) throw new Error('too many handlers');
    this.table.set(index, this.instantiate(module).handler);
    return index;
  }

  /** Whether there is a place for another region. */
  get hasRoom(): boolean {
    return this.handlerCount - this.freeHandlers.length < tableLimit - reservedForHandlers;
  }

  /** Regions and handlers. */
  get functionCount(): number {
    return this.handlerCount - this.freeHandlers.length;
  }

  /** Takes a function out of the table; nothing may name it any more. */
  removeHandler(index: number): void {
    this.table.set(index, null);
    this.freeHandlers.push(index);
  }

  private instantiate(module: WebAssembly.Module): WebAssembly.Exports {
    return new WebAssembly.Instance(module, this.imports as unknown as WebAssembly.Imports).exports;
  }

  private buildCore(): WebAssembly.Exports {
    const { libraries } = this.shape;
    const module = new ModuleBuilder(this.options.pages);
    const engine = Object.fromEntries(
      Object.entries(runtimeImports).map(([name, type]) => [name, module.importFunction('runtime', name, type)]),
    ) as Record<RuntimeImport, number>;
    const core = Object.fromEntries(
      Object.entries(coreFunctions).map(([name, type]) => [name, module.declareFunction(type)]),
    ) as Record<keyof typeof coreFunctions, number>;
    const runtime = { ...engine, ...core };
    const libraryIndex = new Map(
      [...libraries.values()].map((library) => [library.name, module.declareFunction(libraryType(library))]),
    );
    const links: Links = {
      runtime,
      handlerType: module.type(handlerType),
      library: (name) => ({ index: libraryIndex.get(name) as number, function: findLibrary(libraries, name) }),
    };
    for (const library of libraries.values()) {
      const index = libraryIndex.get(library.name) as number;
      const f = new FunctionEmitter(library.params);
      const result = library.body(new WasmBuilder(f, links), ...library.params.map((_, i) => f.param(i)));
      if (result) f.expr(result);
      module.defineFunction(index, f.finish());
      module.exportFunction(library.name, index);
    }
    module.defineFunction(core.fill, emitFill(links, this.options.walk));
    for (const name of ['loadSlow', 'storeSlow', 'probeSlow'] as const)
      module.defineFunction(core[name], emitSlowAccess(name, links, engine[name]));
    for (const [name, index] of Object.entries(core)) module.exportFunction(name, index);
    const delivery = module.declareFunction({ params: ['i64'], results: ['i32'] });
    module.defineFunction(delivery, emitDelivery(links));
    const run = module.declareFunction({ params: ['i32'], results: ['i32'] });
    module.defineFunction(run, emitRun(links, this.options.inline, delivery));
    module.exportFunction('run', run);
    return this.instantiate(new WebAssembly.Module(module.finish()));
  }
}

/** A handler as a function (record) → status. */
function emitHandler(links: Links, parsed: ParsedRow, variant: Variant): FunctionBody {
  const f = new FunctionEmitter(handlerType.params);
  const answer = (value: number) => () => f.return(i32(value));
  const completion: Completion = {
    jump: answer(status.jump),
    jumpToRecord: () => {},
    fault: answer(status.fault),
    leave: answer(status.leave),
    repeat: answer(status.repeat),
    helperStatus: (value) => f.return(value),
  };
  const b = new HandlerBuilder(f, links, parsed, variant, f.param(0), 0, completion, noKnowledge());
  emitInstruction(b, parsed);
  f.expr(i32(status.next));
  return f.finish();
}

/** The checks that a row asks for, then its semantics. */
export function emitInstruction(b: HandlerBuilder, parsed: ParsedRow): void {
  const { row } = parsed;
  if (row.privileged) b.if(b.get(state.cpl), () => b.raise(state.vector.GP));
  if (row.unit && !(b.ready && (row.unit === 'sse' || row.unit === 'avx'))) emitUnitCheck(b, row.unit);
  row.semantics(b);
  b.finish();
}

/** (RIP in 64-bit mode) → 1 when the pending fault was a page fault and is delivered. */
function emitDelivery(links: Links): FunctionBody {
  const f = new FunctionEmitter(['i64']);
  const b = new DeliveryBuilder(f, links);
  deliverPageFault(b, f.param(0), b.kernelTlb, () => f.return(i32(0)));
  f.expr(i32(1));
  return f.finish();
}

const zero = i32(0);

/** The loop. Labels, outermost first: lookup (state `linear` is set) ⊃ branch (budget) ⊃ next (dispatch). */
function emitRun(links: Links, inline: readonly HotCase[], delivery: number): FunctionBody {
  const f = new FunctionEmitter(['i32']);
  const rec = f.param(0);
  const answer = f.local('i32');
  /** A region was left since the last taken branch. */
  const left = f.local('i32');
  const get = (field: { offset: number; type: 'i32' | 'i64' | 'f32' | 'f64' | 'v128' }) =>
    f.loadRaw(zero, stateBase + field.offset, field.type, 8);
  const put = (field: { offset: number }, e: Expr) => f.storeRaw(zero, stateBase + field.offset, e, 8);
  const ownLinear = () => add(get(state.page), f.loadRaw(rec, record.offset, 'i64', 2));

  f.loop((lookup) => {
    f.if(eqz(rec), () => f.inScope(() => emitLookup(f, rec, () => f.return(i32(exit.fetch)))));
    f.loop((branch) => {
      f.inScope(() => {
        const left = f.let(sub(get(state.budget), i32(1)));
        put(state.budget, left);
        f.if(ltS(left, i32(0)), () => {
          put(state.record, rec);
          put(state.linear, ownLinear());
          f.return(i32(exit.slice));
        });
      });
      f.if(left, () => {
        f.set(left, zero);
        f.inScope(() =>
          emitDeparture(f, rec, () => {
            put(state.record, rec);
            put(state.linear, ownLinear());
            f.return(i32(exit.hot));
          }),
        );
      });
      f.loop((next) => {
        const fault = () => {
          f.if(f.call(delivery, [ownLinear()], 'i32') as Expr, toLookup);
          put(state.record, rec);
          f.return(i32(exit.fault));
        };
        const toRecord = (target: Expr) => {
          f.set(rec, target);
          f.branch(branch);
        };
        const toLookup = () => {
          f.set(rec, zero);
          f.branch(lookup);
        };
        const step = (bytes: number) => {
          f.set(rec, add(rec, i32(bytes)));
          f.branch(next);
        };
        const byStatus = (value: Expr) => {
          f.set(answer, value);
          f.if(eq(answer, i32(status.jump)), toLookup);
          f.if(eq(answer, i32(status.repeat)), () => f.branch(branch));
          f.if(eq(answer, i32(status.leave)), () => f.return(i32(exit.leave)));
          fault();
        };
        const completion: Completion = {
          jump: toLookup,
          jumpToRecord: toRecord,
          fault,
          leave: () => f.return(i32(exit.leave)),
          repeat: () => f.branch(branch),
          helperStatus: byStatus,
        };
        const cases: (() => void)[] = [
          () => {
            const value = f.callIndirect(
              links.handlerType,
              f.loadRaw(rec, record.handler, 'i32', 2),
              [rec],
              'i32',
            ) as Expr;
            f.if(value, () => byStatus(value));
            step(record.size);
          },
          () => {
            put(state.linear, ownLinear());
            toLookup();
          },
          () => {
            f.set(rec, f.loadRaw(rec, record.target, 'i32', 4));
            f.branch(next);
          },
          () => {
            f.if(get(state.interruptPending), () => {
              put(state.linear, ownLinear());
              f.return(i32(exit.slice));
            });
            step(record.size);
          },
          () => {
            f.inScope(() => emitCrossing(f, rec, () => f.branch(next)));
            put(state.linear, ownLinear());
            f.return(i32(exit.fetch));
          },
          () => {
            put(state.linear, ownLinear());
            f.return(i32(exit.slice));
          },
          () => {
            const value = f.callIndirect(
              links.handlerType,
              f.loadRaw(rec, record.handler, 'i32', 2),
              [rec],
              'i32',
            ) as Expr;
            f.set(left, i32(1));
            f.if(eq(value, i32(status.jump)), toLookup);
            f.set(rec, value);
            // Two regions that leave to each other must not go on for ever.
            f.if(ltS(get(state.budget), i32(0)), () => {
              put(state.record, rec);
              put(state.linear, ownLinear());
              f.return(i32(exit.slice));
            });
            f.branch(next);
          },
          ...inline.map((c) => () => {
            const sequence = noKnowledge();
            c.parts.forEach(({ parsed, variant }, i) => {
              emitInstruction(
                new HandlerBuilder(f, links, parsed, variant, rec, i * record.size, completion, sequence),
                parsed,
              );
            });
            step(c.parts.length * record.size);
          }),
        ];
        emitSwitch(f, f.loadRaw(rec, record.op, 'i32', 2), cases);
      });
    });
  });
  f.unreachable();
  return f.finish();
}

/** Counts how often the place of a record, where no region begins, is come to from one; `hot` when it is often. */
function emitDeparture(f: FunctionEmitter, rec: Expr, hot: () => void): void {
  f.if(ne(f.loadRaw(rec, record.op, 'i32', 2), i32(ops.region)), () => {
    const counter = f.let(and(shrU(rec, i32(Math.log2(record.size) - 2)), i32(departures.size - 4)));
    const count = f.let(add(f.loadRaw(counter, departures.base, 'i32', 4), i32(1)));
    f.storeRaw(counter, departures.base, count, 4);
    f.if(leU(i32(hotDepartures), count), () => {
      f.storeRaw(counter, departures.base, zero, 4);
      hot();
    });
  });
}

/** Engine address of the execute TLB entry for a linear address, from its low half. */
function executeEntry(f: FunctionEmitter, low: Expr): Expr {
  const folded = shrU(xor(low, shrU(low, i32(tlb.foldShift))), i32(12 - tlb.executeShift));
  const index = and(folded, i32((tlb.executeEntries - 1) << tlb.executeShift));
  return f.let(add(index, f.loadRaw(zero, stateBase + state.tlbBase.offset, 'i32', 4)));
}

/** Sets `rec` from state `linear` by the execute TLB and the page's entry table, and state `page`; or leaves by `miss`. */
export function emitLookup(f: FunctionEmitter, rec: Extract<Expr, { kind: 'local' }>, miss: () => void): void {
  const linear = f.loadRaw(zero, stateBase + state.linear.offset, 'i64', 8);
  const low = f.let(toI32(linear));
  const entry = executeEntry(f, low);
  const pageStart = f.let(and(linear, i64(-4096)));
  f.if(eq(f.loadRaw(entry, tlb.executeOffset, 'i64', 8), pageStart), () => {}, miss);
  const table = f.loadRaw(entry, tlb.executeOffset + tlb.table, 'i32', 4);
  const chunk = f.loadRaw(
    add(table, and(shrU(low, i32(entryTable.chunkShift - 2)), i32(entryTable.pointers - 4))),
    0,
    'i32',
    4,
  );
  f.set(rec, f.loadRaw(add(chunk, and(shl(low, i32(2)), i32(entryTable.chunkSize - 4))), 0, 'i32', 4));
  f.if(rec, () => {}, miss);
  f.storeRaw(zero, stateBase + state.page.offset, pageStart, 8);
}

/** Whether the execute TLB gives the page at linear address `page` this entry table. */
export function isMapped(f: FunctionEmitter, page: Expr, table: number): Expr {
  const entry = executeEntry(f, f.let(toI32(page)));
  const known = eq(f.loadRaw(entry, tlb.executeOffset, 'i64', 8), page);
  return and(known, eq(f.loadRaw(entry, tlb.executeOffset + tlb.table, 'i32', 4), i32(table)));
}

/** Goes from a `stop` record to the instruction's own, when the page behind is still what it was made for. */
function emitCrossing(f: FunctionEmitter, rec: Extract<Expr, { kind: 'local' }>, next: () => void): void {
  const target = f.loadRaw(rec, record.target, 'i32', 4);
  f.if(target, () => {
    const behind = f.let(add(f.loadRaw(zero, stateBase + state.page.offset, 'i64', 8), i64(4096)));
    const entry = executeEntry(f, f.let(toI32(behind)));
    const known = eq(f.loadRaw(entry, tlb.executeOffset, 'i64', 8), behind);
    const table = f.loadRaw(entry, tlb.executeOffset + tlb.table, 'i32', 4);
    f.if(and(known, eq(table, f.loadRaw(rec, record.immediate, 'i32', 4))), () => {
      f.set(rec, target);
      next();
    });
  });
}

/** switch (index) { case 0: … } with every case ending in a branch or return. */
function emitSwitch(f: FunctionEmitter, index: Expr, cases: readonly (() => void)[]): void {
  const labels: Label[] = new Array(cases.length);
  const nest = (i: number): void => {
    if (i < 0) {
      f.branchTable(index, labels, labels[0]);
      return;
    }
    f.block((label) => {
      labels[i] = label;
      nest(i - 1);
    });
    f.inScope(cases[i]);
  };
  nest(cases.length - 1);
}

/**
 * The translator tier: hot code becomes WebAssembly functions, a region each.
 *
 * What is hot is found by sampling: the interpreter's time slices end at taken
 * branches, and a target that is met again and again is where time is spent.
 * A region's entry record gets the case `region`; everything that a region can
 * not do it leaves to the interpreter (see builder.ts).
 *
 * Regions are made by a thread of their own where there is one (compile-thread.ts);
 * meanwhile the guest runs on with what it has.
 */
import { modeBits, state, type X86State } from '../../../target/index.ts';
import type { CodeCache } from '../code-cache.ts';
import type { Interpreter } from '../interpreter.ts';
import { record } from '../layout.ts';
import type { TcgMemory } from '../memory.ts';
import type { TcgStatistics } from '../statistics.ts';
import type { CompilerThread } from './compile-thread.ts';
import type { CompileRequest, RegionCode, RegionCompiler } from './compiler.ts';

/** Samples at one target before it is translated, and before that is done again with all that has been seen. */
const hotSamples = 2;
const hotterSamples = 16;
/** Targets that are watched; beyond that the counts start again. */
const maxWatched = 4096;
/** The most regions that the thread is asked for at a time. */
const maxPending = 256;

/** The translator's figures since the start. */
type TranslatorStatistics = {
  -readonly [K in
    | 'translations'
    | 'retranslations'
    | 'translatedInstructions'
    | 'refusedTranslations'
    | 'lateTranslations'
    | 'translationMillis']: TcgStatistics[K];
};

export const noTranslations: Readonly<TranslatorStatistics> = {
  translations: 0,
  retranslations: 0,
  translatedInstructions: 0,
  refusedTranslations: 0,
  lateTranslations: 0,
  translationMillis: 0,
};

export interface TranslatorParts {
  readonly memory: TcgMemory;
  readonly cpu: X86State;
  readonly code: CodeCache;
  readonly interpreter: Interpreter;
  /** Compiles here and now. */
  readonly compiler: RegionCompiler;
  /** Compiles meanwhile. */
  readonly thread: CompilerThread | undefined;
  /** Regions beyond these take the place of others. */
  readonly maxRegions: number;
  /** The host's clock. */
  monotonicNanos(): number;
}

/** A region that is wanted. */
interface Wanted {
  readonly request: CompileRequest;
  readonly entryRecord: number;
}

export class Translator {
  readonly statistics: TranslatorStatistics = { ...noTranslations };
  private readonly samples = new Map<number, number>();
  private readonly parts: TranslatorParts;
  private readonly view: DataView;
  private readonly atOnce: boolean;
  private generation = 0;
  private sentHandlers = 0;
  private hasLostThread = false;
  /** Entry records of the regions that the thread was asked for. */
  private readonly pending = new Set<number>();

  /** @param atOnce everything is translated when it is first run */
  constructor(parts: TranslatorParts, atOnce: boolean) {
    this.parts = parts;
    this.atOnce = atOnce;
    this.view = new DataView(parts.memory.buffer);
    parts.code.onRegionDropped = (region) => {
      parts.interpreter.removeHandler(region.handler);
      for (const at of region.entries) this.samples.delete(at);
    };
  }

  /** A time slice ended at the instruction of a record; true when it is hot and there is something to translate. */
  sample(entryRecord: number): boolean {
    const region = this.parts.code.regionAt(entryRecord);
    if (region) this.parts.code.noteUse(region);
    if (region?.isFinal || this.pending.has(entryRecord)) return false;
    const count = (this.samples.get(entryRecord) ?? 0) + 1;
    if (this.samples.size >= maxWatched) this.samples.clear();
    this.samples.set(entryRecord, count);
    return count === (this.atOnce ? 1 : region ? hotSamples + hotterSamples : hotSamples);
  }

  /** Whether there is no region at a record, and none is on its way. */
  isMissing(entryRecord: number): boolean {
    return !this.parts.code.regionAt(entryRecord) && !this.pending.has(entryRecord);
  }

  /** All code is gone. */
  forget(): void {
    this.samples.clear();
    this.pending.clear();
    this.generation++;
  }

  /**
   * Translates the region at a linear address, whose page with code is `physicalPage`, unless that was done. The first
   * time it is what is reached within the page; when that turns out to be hot, calls and returns and other pages are
   * taken in, as they were seen meanwhile.
   */
  translate(physicalPage: number, mode: number, low: number, high: number): void {
    if ((mode & (modeBits.flat | modeBits.step)) !== modeBits.flat) return;
    const { code, interpreter, cpu, thread } = this.parts;
    if (code.full || !interpreter.hasRoom) return;
    const offset = low & 0xfff;
    code.ensure(physicalPage, mode, offset);
    const entryRecord = code.recordAt(physicalPage, mode, offset);
    const before = code.regionAt(entryRecord);
    if (before?.isFinal) return;
    const wanted = (knownHandlers: number): Wanted => {
      const repeatHandlers = code.repeatHandlers.slice(knownHandlers);
      const table = code.entryTable(physicalPage, mode);
      const place = { table, offset, low: low & ~0xfff, high, tlbSet: cpu.get(state.tlbBase) };
      const isFinal = before !== undefined;
      return { entryRecord, request: { generation: this.generation, mode, ...place, isFinal, repeatHandlers } };
    };
    if (thread && !this.hasLostThread) {
      if (!thread.isThere) this.loseThread();
      else if (this.pending.size < maxPending) this.ask(thread, wanted(this.sentHandlers));
      else this.samples.delete(entryRecord);
      return;
    }
    const start = this.parts.monotonicNanos();
    const { request } = wanted(0);
    const made = this.parts.compiler.compile(request);
    if (typeof made === 'string') this.failed(made);
    else this.install(made, new WebAssembly.Module(made.bytes), request, entryRecord);
    this.statistics.translationMillis += (this.parts.monotonicNanos() - start) / 1e6;
  }

  /** From now on regions are made here; what the thread kept in memory for its own goes with them. */
  private loseThread(): void {
    this.hasLostThread = true;
    this.parts.code.exhaust();
  }

  private ask(thread: CompilerThread, { request, entryRecord }: Wanted): void {
    this.pending.add(entryRecord);
    this.sentHandlers = this.parts.code.repeatHandlers.length;
    thread.compile(request, (answer) => {
      if (request.generation !== this.generation) return;
      this.pending.delete(entryRecord);
      if (answer === 'gone') {
        this.samples.delete(entryRecord);
        return;
      }
      this.statistics.translationMillis += answer.millis;
      if (typeof answer.made === 'string') this.failed(answer.made);
      else this.install(answer.made, answer.module as WebAssembly.Module, request, entryRecord);
    });
  }

  private failed(why: 'refused' | 'full'): void {
    if (why === 'full') this.parts.code.exhaust();
    else this.statistics.refusedTranslations++;
  }

  private install(
    made: Omit<RegionCode, 'bytes'>,
    module: WebAssembly.Module,
    { mode, isFinal }: CompileRequest,
    entryRecord: number,
  ): void {
    const { code, interpreter } = this.parts;
    const pages = made.pages.map(({ table, drops }) => code.pageOf(table, drops));
    if (code.full || !interpreter.hasRoom || !pages.every((page) => page !== undefined)) {
      // Its code has changed meanwhile, or all code is about to be forgotten.
      this.samples.delete(entryRecord);
      this.statistics.lateTranslations++;
      return;
    }
    const there = code.regionAt(entryRecord);
    if (there && (there.isFinal || !isFinal)) return;
    code.evictRegions(this.parts.maxRegions);
    for (const [i, at] of made.entries.entries())
      this.view.setInt32(made.cells + 4 * i, code.shadow(pages[0], mode, at), true);
    const entries = made.entries.map((at, i) => (i > 0 && code.regionAt(at)?.isFinal ? 0 : at));
    for (const at of made.counted) this.view.setInt32(at + record.runs, 1, true);
    const handler = interpreter.addFunction(module);
    code.installRegion({ handler, mode, pages: [...new Set(pages)], entries, isFinal });
    this.statistics.translations++;
    if (isFinal) this.statistics.retranslations++;
    this.statistics.translatedInstructions += made.instructionCount;
  }
}

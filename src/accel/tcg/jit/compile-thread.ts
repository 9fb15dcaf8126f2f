/** The thread that makes regions, and its vCPU's side. */
import type { HostThread, ThreadContext } from '../../../contract/index.ts';
import { buildTable, type Feature, x86Rows } from '../../../target/index.ts';
import { engineLibraries } from '../libraries.ts';
import { type CompileRequest, type RegionCode, RegionCompiler } from './compiler.ts';

/** Makes a module ready to run: quickly, or so that it runs fast from its first call. */
export type CompileModule = (bytes: Uint8Array<ArrayBuffer>, effort: 'quick' | 'best') => WebAssembly.Module;

/** The first message to the thread. */
interface Start {
  readonly memory: WebAssembly.Memory;
  readonly pages: { readonly initial: number; readonly maximum: number };
  readonly features: readonly Feature[];
}

type Question = { readonly id: number; readonly request: CompileRequest };

interface Answer {
  readonly id: number;
  readonly made: Omit<RegionCode, 'bytes'> | 'refused' | 'full';
  readonly module: WebAssembly.Module | undefined;
  /** Of the thread's time. */
  readonly millis: number;
}

/** The vCPU's side of the thread. */
export class CompilerThread {
  private readonly thread: HostThread;
  private readonly waiting = new Map<number, (answer: Answer | 'gone') => void>();
  private nextId = 0;
  private hasEnded = false;

  constructor(thread: HostThread, start: Start) {
    this.thread = thread;
    thread.connect((message) => {
      const answer = message as Answer;
      const receive = this.waiting.get(answer.id);
      this.waiting.delete(answer.id);
      receive?.(answer);
    });
    thread.onEnd(() => {
      this.hasEnded = true;
      for (const receive of this.waiting.values()) receive('gone');
      this.waiting.clear();
    });
    thread.post(start);
  }

  /** Until the thread ends of itself, for want of memory perhaps. */
  get isThere(): boolean {
    return !this.hasEnded;
  }

  /** `receive` is called once, in a later turn. */
  compile(request: CompileRequest, receive: (answer: Answer | 'gone') => void): void {
    const id = this.nextId++;
    this.waiting.set(id, receive);
    this.thread.post({ id, request } satisfies Question);
  }
}

/** What the thread runs. */
export function serveRegionCompiler(context: ThreadContext, compileModule: CompileModule): void {
  let compiler: RegionCompiler | undefined;
  /** First regions before final ones: these have something to run on meanwhile. */
  const queues: [first: Question[], final: Question[]] = [[], []];
  let works = false;
  const work = async (): Promise<void> => {
    works = true;
    for (;;) {
      await context.nextTurn();
      const question = queues[0].shift() ?? queues[1].shift();
      if (!question || !compiler) break;
      context.post(answer(compiler, question, context, compileModule));
    }
    works = false;
  };
  context.connect((message) => {
    if (!compiler) {
      compiler = start(message as Start);
      return;
    }
    const question = message as Question;
    queues[question.request.isFinal ? 1 : 0].push(question);
    if (!works) void work();
  });
}

function start({ memory, pages, features }: Start): RegionCompiler {
  return new RegionCompiler({
    buffer: memory.buffer as SharedArrayBuffer,
    pages,
    table: buildTable(x86Rows),
    features: new Set(features),
    libraries: engineLibraries(),
  });
}

function answer(
  compiler: RegionCompiler,
  { id, request }: Question,
  context: ThreadContext,
  compileModule: CompileModule,
): Answer {
  const begin = context.monotonicNanos();
  const millis = () => (context.monotonicNanos() - begin) / 1e6;
  const { changes } = compiler;
  try {
    const made = compiler.compile(request);
    if (typeof made === 'string') return { id, made, module: undefined, millis: millis() };
    const { bytes, ...region } = made;
    const module = compileModule(bytes, request.isFinal ? 'best' : 'quick');
    return { id, made: region, module, millis: millis() };
  } catch (e) {
    if (changes === compiler.changes) throw e;
    return { id, made: 'refused', module: undefined, millis: millis() };
  }
}

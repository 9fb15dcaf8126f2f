/** The software CPU: guest x86 code decoded and run by generated WebAssembly. */
import type { Bus, HostThread, Vcpu, VcpuEnvironment } from '../../contract/index.ts';
import {
  buildTable,
  type CpuModel,
  parseRow,
  resolveModel,
  tooLongInstruction,
  undefinedOpcode,
  X86State,
  x86Rows,
} from '../../target/index.ts';
import { CodeCache } from './code-cache.ts';
import { TcgEngine } from './engine.ts';
import { Handlers } from './handlers.ts';
import { hotCases } from './hot.ts';
import { Interpreter } from './interpreter.ts';
import { CompilerThread } from './jit/compile-thread.ts';
import { RegionCompiler } from './jit/compiler.ts';
import { Translator } from './jit/translator.ts';
import { stateBase } from './layout.ts';
import { engineLibraries } from './libraries.ts';
import { TcgMemory } from './memory.ts';
import { Mmu } from './mmu.ts';
import { EnginePorts } from './ports.ts';
import { EngineCounters, type TcgStatistics } from './statistics.ts';
import { TcgSystem } from './system.ts';
import { TcgVcpu, type VcpuParts } from './vcpu.ts';

export type Tier = 'auto' | 'interpreter' | 'translator';

export { maxRamBytes } from './layout.ts';

export interface TcgOptions {
  /** A QEMU CPU model, with `+feature` and `-feature` (see resolveModel). */
  readonly cpuModel: string;
  /** Guest physical ranges of RAM, 4-KiB aligned. */
  readonly ramRanges: readonly { readonly base: number; readonly size: number }[];
  /** `auto` (default): what is hot is translated; `interpreter`: nothing; `translator`: everything when it is first run. */
  readonly tier?: Tier;
  /** The host's clock, for statistics; without it translating takes no time in them. */
  readonly monotonicNanos?: () => number;
  /**
   * Starts a thread that runs `serveRegionCompiler`: hot code is translated there while the guest runs on. Without it
   * the vCPUs' thread translates.
   */
  readonly startCompiler?: () => HostThread;
  /** The most translated regions that are kept (default 4096), of some 45 KiB each with V8's own. */
  readonly maxRegions?: number;
}

export { type CompileModule, serveRegionCompiler } from './jit/compile-thread.ts';
export type { TcgStatistics } from './statistics.ts';

export interface TcgAccelerator {
  readonly memory: TcgMemory;
  /** Called once for each vCPU; they are run by turns, in one thread. */
  createVcpu(environment: VcpuEnvironment): Vcpu & { statistics(): TcgStatistics };
}

/** Reserves guest RAM. Throws UserError for an unknown CPU model. */
export async function createTcg(options: TcgOptions): Promise<TcgAccelerator> {
  resolveModel(options.cpuModel);
  const memory = new TcgMemory(options.ramRanges);
  let engine: EngineParts | undefined;
  return {
    memory,
    createVcpu(environment) {
      const { index = 0, count = 1 } = environment;
      const model = resolveModel(options.cpuModel, { cpus: count, index });
      engine ??= createEngine(memory, model, environment.mmio, options);
      return addVcpu(engine, model, environment);
    },
  };
}

/** What all vCPUs of a machine share. */
type EngineParts = Omit<VcpuParts, 'system' | 'environment'>;

function createEngine(
  memory: TcgMemory,
  model: CpuModel,
  mmio: Bus,
  { tier = 'auto', monotonicNanos = () => 0, startCompiler, maxRegions = 4096 }: TcgOptions,
): EngineParts {
  const cpu = new X86State(memory.buffer, stateBase);
  const mmu = new Mmu(memory, cpu, mmio);
  const engine = new TcgEngine<TcgVcpu>(cpu, mmu);
  const table = buildTable(x86Rows);
  const hot = hotCases(table);
  const libraries = engineLibraries();
  const interpreter = new Interpreter({
    memory: memory.memory,
    pages: memory.pages,
    libraries,
    inline: hot,
    walk: {
      ranges: memory.ranges,
      physicalBits: model.physicalBits,
      hasGigabytePages: model.has('pdpe1gb'),
    },
    runtime: {
      loadSlow: (low, high, size) => mmu.loadSlow(low, high, size),
      storeSlow: (low, high, size) => mmu.storeSlow(low, high, size),
      probeSlow: (low, high, size) => mmu.probeSlow(low, high, size),
      segmentSlow: (segment, offset, access) => mmu.segmentSlow(segment, offset, access),
      readTsc: () => engine.active.readTsc(),
      helper: (id) => engine.active.helper(id),
    },
  });
  const features = new Set(table.rows.flatMap(({ row }) => (row.cpuid && model.has(row.cpuid) ? [row.cpuid] : [])));
  const failures = {
    undefinedOpcode: parseRow(undefinedOpcode, table.rows.length),
    tooLong: parseRow(tooLongInstruction, table.rows.length + 1),
  };
  const code = new CodeCache(memory, table, features, new Handlers(interpreter, hot), failures);
  const translator =
    tier === 'interpreter'
      ? undefined
      : new Translator(
          {
            memory,
            cpu,
            code,
            interpreter,
            compiler: new RegionCompiler({
              buffer: memory.buffer,
              pages: memory.pages,
              table,
              features,
              libraries,
              decodeAt: (entryTable, offset) => code.ensureIn(entryTable, offset),
            }),
            thread:
              tier === 'auto' && startCompiler
                ? new CompilerThread(startCompiler(), {
                    memory: memory.memory,
                    pages: memory.pages,
                    features: [...features],
                  })
                : undefined,
            maxRegions,
            monotonicNanos,
          },
          tier === 'translator',
        );
  memory.onWritten = (base, length) => code.invalidate(base, length);
  const counters = new EngineCounters();
  return { counters, engine, memory, mmu, code, interpreter, translator, translatesAtOnce: tier === 'translator' };
}

function addVcpu(parts: EngineParts, model: CpuModel, environment: VcpuEnvironment): TcgVcpu {
  const { engine, mmu, code } = parts;
  const ports = new EnginePorts(mmu, environment, randomWord);
  if (model.tscHertz !== undefined) ports.setTscHertz(model.tscHertz);
  const system = new TcgSystem(engine.cpu, mmu, ports, model);
  // Each CPU's walker works on the state of the CPU that runs; the last one serves for all.
  mmu.connect(system.walker, code);
  return new TcgVcpu({ ...parts, system, environment });
}

/** For RDRAND: a guest's entropy is no better than the host's Math.random here. */
const randomWord = (): number => (Math.random() * 0x1_0000_0000) | 0;

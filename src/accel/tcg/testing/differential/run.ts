/** Runs cases on both sides and collects what differs. */
import {
  buildTable,
  type Feature,
  type InstructionTable,
  type ParsedRow,
  resolveModel,
  x86Rows,
} from '../../../../target/index.ts';
import type { Tier } from '../../index.ts';
import { compare, type Difference } from './compare.ts';
import { createEngine, type Engine } from './engine.ts';
import { exclusion } from './exclude.ts';
import { type Generator, generateCase } from './generate.ts';
import { maxBatch, type Oracle, startOracle } from './oracle.ts';
import { generateProgram } from './program.ts';
import { Random } from './random.ts';
import { dataSize, type Outcome, type TestCase } from './record.ts';

export interface Failure {
  readonly testCase: TestCase;
  readonly native: Outcome;
  readonly differences: readonly Difference[];
}

export interface Differential {
  readonly generator: Generator;
  /** Rows left out, by reason. */
  readonly excluded: ReadonlyMap<string, readonly ParsedRow[]>;
  /** Runs cases `first` to `first + count - 1`; `onFailure` is told of each that differs. */
  run(
    first: number,
    count: number,
    onFailure: (failure: Failure) => void,
    onProgress?: (done: number) => void,
  ): Promise<void>;
  close(): void;
}

/**
 * Sets both sides up, or says why this host can not be compared with.
 * @param programs cases are programs of several instructions instead of one
 */
export async function createDifferential(
  seed: number,
  wanted: (parsed: ParsedRow) => boolean = () => true,
  tier: Tier = 'interpreter',
  programs = false,
): Promise<Differential | string> {
  const background = new Random(0, 0).bytes(dataSize);
  const oracle = await startOracle(background);
  if (typeof oracle === 'string') return oracle;
  const table = buildTable(x86Rows);
  const features = modelFeatures(table);
  const { rows, excluded } = chooseRows(table, oracle.features, features, wanted);
  const generator = { table, features, rows, seed };
  const runner = await createRunner(background, tier);
  const make = programs ? generateProgram : generateCase;
  return {
    generator,
    excluded,
    run: (...args) => runCases((number) => make(generator, number), oracle, runner, ...args),
    close: () => oracle.close(),
  };
}

function chooseRows(
  table: InstructionTable,
  host: ReadonlySet<Feature>,
  model: ReadonlySet<Feature>,
  wanted: (parsed: ParsedRow) => boolean,
) {
  const rows: ParsedRow[] = [];
  const excluded = new Map<string, ParsedRow[]>();
  for (const parsed of table.rows) {
    const reason = exclusion(parsed, host, model);
    if (reason) excluded.set(reason, [...(excluded.get(reason) ?? []), parsed]);
    else if (wanted(parsed)) rows.push(parsed);
  }
  return { rows, excluded };
}

function modelFeatures(table: InstructionTable): Set<Feature> {
  const model = resolveModel('max');
  return new Set(table.rows.flatMap(({ row }) => (row.cpuid && model.has(row.cpuid) ? [row.cpuid] : [])));
}

/** An engine that is replaced when a case makes it throw, which is a bug and no outcome. */
interface Runner {
  run(c: TestCase): Promise<Outcome | Error>;
}

async function createRunner(background: Uint8Array, tier: Tier): Promise<Runner> {
  let engine: Engine = await createEngine(background, tier);
  return {
    async run(c) {
      try {
        return engine.run(c);
      } catch (e) {
        engine = await createEngine(background, tier);
        return e instanceof Error ? e : new Error(String(e));
      }
    },
  };
}

async function runCases(
  make: (number: number) => TestCase,
  oracle: Oracle,
  runner: Runner,
  first: number,
  count: number,
  onFailure: (failure: Failure) => void,
  onProgress: (done: number) => void = () => {},
): Promise<void> {
  for (let done = 0; done < count; ) {
    const cases = Array.from({ length: Math.min(maxBatch, count - done) }, (_, i) => make(first + done + i));
    const natives = oracle.run(cases);
    const vireos: (Outcome | Error)[] = [];
    for (const c of cases) vireos.push(await runner.run(c));
    for (const [i, native] of (await natives).entries()) {
      const vireo = vireos[i];
      const thrown = vireo instanceof Error;
      const differences = thrown
        ? [{ what: 'engine', native: 'ran', vireo: `threw ${vireo.stack}` }]
        : compare(cases[i], native, vireo, oracle.vendor);
      if (differences.length > 0) onFailure({ testCase: cases[i], native, differences });
    }
    done += cases.length;
    onProgress(done);
  }
}

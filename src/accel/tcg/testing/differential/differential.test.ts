import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildTable, type Feature, x86Rows } from '../../../../target/index.ts';
import { compare } from './compare.ts';
import { ruleNames } from './differences.ts';
import { excludedNames } from './exclude.ts';
import { generateCase } from './generate.ts';
import { generateProgram } from './program.ts';
import { at, encodeBatch, type Outcome } from './record.ts';
import { describeFailure } from './report.ts';
import { createDifferential, type Failure } from './run.ts';

const seed = 1;
/** How many cases of single instructions; the other suites follow from it. */
const cases = Number(process.env.VIREO_DIFFERENTIAL_CASES ?? 16_000);

const table = buildTable(x86Rows);
const allFeatures = new Set(table.rows.flatMap(({ row }) => (row.cpuid ? [row.cpuid] : []))) as Set<Feature>;
const generator = { table, features: allFeatures, rows: table.rows, seed };

// Each case costs the translator a module, so that tier gets fewer.
const suites = [
  { title: 'instructions in the interpreter', tier: 'interpreter', programs: false, count: cases },
  { title: 'instructions in the translator', tier: 'translator', programs: false, count: cases / 8 },
  { title: 'programs in the interpreter', tier: 'interpreter', programs: true, count: cases / 16 },
  { title: 'programs in the translator', tier: 'translator', programs: true, count: cases / 16 },
  { title: 'programs in both tiers', tier: 'auto', programs: true, count: cases / 16 },
] as const;

for (const { title, tier, programs, count } of suites) {
  test(`${title} leave what this CPU leaves`, async (t) => {
    const differential = await createDifferential(seed, undefined, tier, programs);
    if (typeof differential === 'string') return t.skip(differential);
    t.diagnostic(`seed ${seed}, ${count} cases; more: npm run test:differential -- --help`);
    const failures: Failure[] = [];
    await differential.run(0, count, (failure) => failures.push(failure));
    differential.close();
    const text = failures.slice(0, 5).map((failure) => describeFailure(seed, failure));
    assert.equal(failures.length, 0, `${failures.length} of ${count} cases differ\n${text.join('\n')}`);
  });
}

test('every row has encodings that decode as itself', () => {
  for (let i = 0; i < table.rows.length; i++) {
    const made = [0, 1, 2, 3].map((round) => generateCase(generator, i + round * table.rows.length));
    const { row } = table.rows[i];
    assert.ok(
      made.some((c) => c.instruction?.parsed.row === row),
      `${row.mnemonic} (${row.pattern}) ${row.operands}`,
    );
  }
});

test('seed and number make the same case again', () => {
  for (const number of [0, 7, 12_345]) {
    assert.deepEqual(encodeBatch([generateCase(generator, number)]), encodeBatch([generateCase(generator, number)]));
    assert.deepEqual(
      encodeBatch([generateProgram(generator, number)]),
      encodeBatch([generateProgram(generator, number)]),
    );
  }
  assert.notDeepEqual(
    encodeBatch([generateCase(generator, 5)]),
    encodeBatch([generateCase({ ...generator, seed: 2 }, 5)]),
  );
});

test('the comparison sees a change of any part of the state', () => {
  const add = table.rows.findIndex(({ row }) => row.mnemonic === 'ADD' && row.pattern === '01 /r');
  const number = [...Array(100).keys()]
    .map((i) => add + i * table.rows.length)
    .find((n) => generateCase(generator, n).mode === 'long64') as number;
  const testCase = generateCase(generator, number);
  const outcome = (change: (o: { state: DataView<ArrayBuffer> }) => Partial<Outcome> | undefined): Outcome => {
    const state = new DataView(testCase.state.buffer.slice(0));
    return { status: 'trap', vector: 14, error: 6, cr2: 0n, state, changes: new Map(), ...change({ state }) };
  };
  const same = outcome(() => undefined);
  assert.deepEqual(
    compare(
      testCase,
      same,
      outcome(() => undefined),
      'any',
    ),
    [],
  );
  const flip = (offset: number) =>
    outcome(({ state }) => {
      state.setUint8(offset, state.getUint8(offset) ^ 1);
      return undefined;
    });
  const changed: Record<string, Outcome> = {
    status: outcome(() => ({ status: 'timeout' })),
    vector: outcome(() => ({ vector: 13 })),
    'error code': outcome(() => ({ error: 7 })),
    cr2: outcome(() => ({ cr2: 1n })),
    'memory 8000': outcome(() => ({ changes: new Map([[0x8000, 1n]]) })),
    rdi: flip(at.gpr + 8 * 7 + 7),
    rip: flip(at.rip),
    'rflags (CF)': flip(at.rflags),
    ds: flip(at.segments + 4),
    'fs base': flip(at.fsBase + 5),
    mxcsr: flip(at.mxcsr),
    fcw: flip(at.fcw),
    fsw: flip(at.fsw),
    tags: flip(at.ftw),
    fip: flip(at.fip),
    st7: flip(at.st + 16 * 7),
    xmm15: flip(at.ymm + 32 * 15),
    'ymm high0': flip(at.ymm + 16),
  };
  for (const [what, vireo] of Object.entries(changed)) {
    assert.deepEqual(
      compare(testCase, same, vireo, 'any').map((d) => d.what),
      [what],
    );
  }
});

test('exclusions and rules name instructions that exist', () => {
  const names = new Set(x86Rows.map((row) => row.mnemonic));
  assert.deepEqual(
    [...excludedNames, ...ruleNames].filter((name) => !names.has(name)),
    [],
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GROUPS } from './groups.ts';
import type { Values } from './measure.ts';
import { geometricMean, median, renderTable, summarize } from './report.ts';

const rows = (entries: Record<string, Values>) => ({ rows: new Map(Object.entries(entries)) });
const strings = GROUPS.find(({ name }) => name === 'strings')!;

test('median and geometric mean', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(median([]), undefined);
  assert.ok(Math.abs(geometricMean([0.5, 8]) - 2) < 1e-12);
});

test('ratios are QEMU over Vireo, of medians', () => {
  const [group] = summarize(rows({ memcpy: { vireo: [1, 9, 2], qemu: [4, 4, 4] } }));
  assert.equal(group.rows[0].ratio, 2);
  assert.equal(group.geometricMean, 2);
  assert.equal(group.met, undefined, 'a part of the group is no verdict');
});

test('a group meets its target as a whole, and each kernel its own', () => {
  const all = (ratio: number) =>
    Object.fromEntries(strings.kernels.map(({ name }) => [name, { vireo: [1], qemu: [ratio] }]));
  assert.equal(summarize(rows(all(1.1)))[0].met, true);
  assert.equal(summarize(rows(all(0.9)))[0].met, false);
  const system = GROUPS.find(({ name }) => name === 'system')!;
  const uneven = system.kernels.map(({ name }, index) => [name, { vireo: [1], qemu: [index === 0 ? 0.5 : 9] }]);
  assert.equal(summarize(rows(Object.fromEntries(uneven)))[0].met, false);
});

test('limits hold for Vireo alone, and have no ratio', () => {
  const [idle] = summarize(rows({ 'host CPU': { vireo: [2.5], qemu: [1] } }));
  assert.equal(idle.met, false);
  assert.equal(idle.rows[0].ratio, undefined);
});

test('the table', () => {
  const text = renderTable(
    summarize(rows({ memcpy: { vireo: [0.5], qemu: [1] }, memset: { vireo: [2] }, 'over guest RAM': { vireo: [99] } })),
  );
  assert.equal(
    text,
    [
      '                         vireo        qemu       ratio',
      'strings (target 1)',
      '  memcpy               0.500 s     1.000 s        2.00',
      '  memset               2.000 s           -',
      '  geometric mean                                  2.00',
      'footprint (target below 250 MiB: met)',
      '  over guest RAM        99 MiB           -',
      '',
    ].join('\n'),
  );
});

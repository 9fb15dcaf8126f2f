// `npm test`: all the set-up, the checks, then the tests. Plain JavaScript for Node 20.
// `npm test -- FILE...` runs those test files alone.
import { spawnSync } from 'node:child_process';
import { findNode, tooOldMessage, WASM_FLAGS } from '../bin/node.mjs';
import { root, setUp } from './setup.mjs';

const ALL_TESTS = ['src/**/*.test.ts', 'scripts/**/*.test.ts', 'examples/**/*.test.ts', 'bench/**/*.test.ts'];

setUp();
const node = findNode();
if (node === undefined) {
  process.stderr.write(`vireo: ${tooOldMessage()}\n`);
  process.exit(1);
}

const files = process.argv.slice(2);
const checks = [
  ['format and lint', ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.']],
  ['types', ['node_modules/typescript/bin/tsc', '-b']],
  ['room boundaries', ['scripts/check-rooms.ts']],
];
const failed = files.length > 0 ? [] : checks.filter(([, args]) => !passes(args)).map(([name]) => name);
const passed = passes([
  ...WASM_FLAGS,
  '--test',
  '--test-concurrency=2',
  '--test-timeout=240000',
  ...(files.length > 0 ? files : ALL_TESTS),
]);
if (failed.length > 0) process.stderr.write(`vireo: failed before the tests: ${failed.join(', ')}\n`);
process.exitCode = passed && failed.length === 0 ? 0 : 1;

function passes(args) {
  return spawnSync(node, args, { cwd: root, stdio: 'inherit' }).status === 0;
}

/** Failures as text. */
import { gprOf } from './random-state.ts';
import { at, type TestCase } from './record.ts';
import type { Failure } from './run.ts';

export const titleOf = ({ parsed: { row } }: TestCase): string =>
  `${row.mnemonic} (${row.pattern}) ${row.operands}`.trim();

const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(' ');

/** One failure, with what is needed to look into it. */
export function describeFailure(seed: number, { testCase, native, differences }: Failure): string {
  const { state, mode, code, codeAddress, number } = testCase;
  const registers = (mode === 'long64' ? [...Array(16).keys()] : [...Array(8).keys()]).map((i) =>
    gprOf(state, i).toString(16),
  );
  const lines = [
    `${titleOf(testCase)}: ${hex(code)} at ${codeAddress.toString(16)}, ${mode} (--seed ${seed} --case ${number})`,
    `  registers ${registers.join(' ')} flags ${state.getUint32(at.rflags, true).toString(16)}, natively vector ${native.vector}`,
    ...differences.slice(0, 12).map((d) => `  ${d.what}: native ${d.native}, vireo ${d.vireo}`),
  ];
  lines.push(...(testCase.listing ?? []).map((line) => `    ${line}`));
  if (differences.length > 12) lines.push(`  and ${differences.length - 12} more`);
  return lines.join('\n');
}

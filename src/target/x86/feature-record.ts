/** CPU features in a CPU's record: a guest that has seen a feature needs it wherever it goes on. */
import { UserError } from '../../base/index.ts';
import type { FeatureLeaf } from './cpu-record.ts';
import { type CpuidResult, featureBits, leafKey, wordsOf } from './system/features.ts';

const NAMES_MAX = 8;
/** About where a CPU is among the others. */
const TOPOLOGY: readonly string[] = ['ht', 'cmp-legacy', 'topoext'];

/** @param wordAt what CPUID says; undefined where there is no such leaf */
export function featureLeaves(
  wordAt: (leaf: number, subleaf: number) => Readonly<CpuidResult> | undefined,
): FeatureLeaf[] {
  const known = [...wordsOf(featureBits.keys())];
  return known.flatMap(([key, mask]) => {
    const [leaf, subleaf] = [Math.floor(key / 16), key % 16];
    const word = wordAt(leaf, subleaf);
    if (word === undefined) return [];
    const cut = (register: keyof CpuidResult) => (word[register] & mask[register]) >>> 0;
    return [{ leaf, subleaf, eax: cut('eax'), ebx: cut('ebx'), ecx: cut('ecx'), edx: cut('edx') }];
  });
}

/** @throws UserError naming what a record's CPU has and this one has not */
export function requireFeatures(theirs: readonly FeatureLeaf[], ours: readonly FeatureLeaf[]): void {
  const found = new Map(ours.map((one) => [leafKey(one.leaf, one.subleaf), one]));
  const saved = new Map(theirs.map((one) => [leafKey(one.leaf, one.subleaf), one]));
  const missing = [...featureBits].flatMap(([name, { leaf, subleaf, register, bit }]) => {
    const key = leafKey(leaf, subleaf);
    const has = (leaves: typeof found) => (((leaves.get(key)?.[register] ?? 0) >>> bit) & 1) !== 0;
    return has(saved) && !has(found) && !TOPOLOGY.includes(name) ? [name] : [];
  });
  if (missing.length === 0) return;
  const more = missing.length > NAMES_MAX ? ` and ${missing.length - NAMES_MAX} more` : '';
  throw new UserError(
    `the guest may be using CPU features that it would not have here: ${missing.slice(0, NAMES_MAX).join(', ')}${more}; start it with a CPU model that both have, such as qemu64`,
  );
}

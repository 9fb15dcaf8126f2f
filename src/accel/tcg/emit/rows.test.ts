/** Every row's semantics emits, in every variant, to a handler that WebAssembly accepts. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import {
  normalizeVariant,
  type ParsedRow,
  parseRow,
  type Variant,
  variantKey,
  x86Rows,
} from '../../../target/index.ts';
import { Interpreter, type RuntimeFunctions } from '../interpreter.ts';
import { engineLibraries } from '../libraries.ts';
import { runtimeImports } from './core-types.ts';

/** The values that each fact can take for a row in 64-bit or other modes. */
function axes(
  { pattern, memory }: ParsedRow,
  long64: boolean,
): { readonly [K in keyof Variant]: readonly Variant[K][] } {
  return {
    osize: long64 ? [2, 4, 8] : [2, 4],
    asize: long64 ? [4, 8] : [2, 4],
    ssize: long64 ? [8] : [2, 4],
    memory: memory === undefined ? [true, false] : [memory],
    vl: !pattern.vex || pattern.l === 0 ? [16] : pattern.l === 1 ? [32] : [16, 32],
    vex: [pattern.vex],
    w: !long64 || pattern.w === 0 ? [false] : pattern.w === 1 ? [true] : [true, false],
    rep: [0, 1, 2],
    long64: [long64],
    flat: long64 ? [true] : [true, false],
    ready: [true, false],
  };
}

/** All variants that decoding can give for a row, each once. */
function variantsOf(parsed: ParsedRow): Variant[] {
  const found = new Map<string, Variant>();
  for (const long64 of [true, false]) {
    if (parsed.row.mode === (long64 ? 'no64' : 'only64')) continue;
    let partial: Partial<Variant>[] = [{}];
    for (const [name, values] of Object.entries(axes(parsed, long64)))
      partial = partial.flatMap((v) => values.map((value) => ({ ...v, [name]: value })));
    for (const v of partial) {
      const normal = normalizeVariant(parsed, v as Variant);
      found.set(variantKey(normal), normal);
    }
  }
  return [...found.values()];
}

describe('handlers', () => {
  let interpreter: Interpreter;
  before(() => {
    const pages = { initial: 64, maximum: 64 };
    const runtime = Object.fromEntries(Object.keys(runtimeImports).map((name) => [name, () => 1])) as RuntimeFunctions;
    const memory = new WebAssembly.Memory({ ...pages, shared: true });
    interpreter = new Interpreter({
      memory,
      pages,
      libraries: engineLibraries(),
      inline: [],
      walk: { ranges: [], physicalBits: 40, hasGigabytePages: true },
      runtime,
    });
  });

  it('of every row and variant are valid', () => {
    const failures: string[] = [];
    let count = 0;
    x86Rows.map(parseRow).forEach((parsed) => {
      for (const v of variantsOf(parsed)) {
        count++;
        try {
          interpreter.addHandler(parsed, v);
        } catch (e) {
          failures.push(
            `${parsed.row.mnemonic} ${parsed.row.pattern} ${parsed.row.operands} ${variantKey(v)}: ${(e as Error).message}`,
          );
        }
      }
    });
    assert.deepEqual(failures, []);
    assert.ok(count > x86Rows.length, `${count} handlers for ${x86Rows.length} rows`);
  });
});

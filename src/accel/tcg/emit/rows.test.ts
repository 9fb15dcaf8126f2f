/** Every row's semantics emits, in every variant, to a handler that WebAssembly accepts. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import {
  flagsLibrary,
  normalizeVariant,
  type ParsedRow,
  parseRow,
  softfloatLibrary,
  type Variant,
  variantKey,
  vectorLibrary,
  x86Rows,
  x87Library,
} from '../../../target/index.ts';
import { Interpreter, type RuntimeFunctions } from '../interpreter.ts';
import { runtimeImports } from './core-types.ts';

/** All variants that decoding can give for a row, each once. */
function variantsOf(parsed: ParsedRow): Variant[] {
  const found = new Map<string, Variant>();
  const { pattern } = parsed;
  for (const long64 of [true, false]) {
    if (parsed.row.mode === (long64 ? 'no64' : 'only64')) continue;
    const sizes = long64 ? ([2, 4, 8] as const) : ([2, 4] as const);
    for (const osize of sizes)
      for (const asize of long64 ? ([4, 8] as const) : ([2, 4] as const))
        for (const memory of parsed.memory === undefined ? [true, false] : [parsed.memory])
          for (const w of pattern.w === undefined ? [false, true] : [pattern.w === 1])
            for (const vl of pattern.vex && pattern.l !== 0
              ? pattern.l === 1
                ? ([32] as const)
                : ([16, 32] as const)
              : ([16] as const))
              for (const rep of [0, 1, 2] as const)
                for (const flat of long64 ? [true] : [true, false]) {
                  const v = normalizeVariant(parsed, {
                    osize,
                    asize,
                    ssize: long64 ? 8 : 4,
                    memory,
                    w: w && long64,
                    vl,
                    vex: pattern.vex,
                    rep,
                    long64,
                    flat,
                  });
                  found.set(variantKey(v), v);
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
      libraries: [...flagsLibrary, ...softfloatLibrary, ...x87Library, ...vectorLibrary],
      inline: [],
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

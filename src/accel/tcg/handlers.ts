/** Which handler runs which instruction: cases inlined in the loop, and functions emitted when first met. */
import type { ParsedRow, Variant } from '../../target/index.ts';
import type { HandlerReference, HandlerSource } from './code-cache.ts';
import { type Interpreter, ops } from './interpreter.ts';

/** `row:variant` keys of an inlined case; two for a fused pair. */
export type InlineKeys = readonly string[];

export class Handlers implements HandlerSource {
  private readonly known = new Map<string, HandlerReference>();
  private readonly pairs = new Map<string, number>();
  private readonly interpreter: Interpreter;

  /** @param inline the cases of `interpreter`'s loop, in order, with the keys of their parts */
  constructor(interpreter: Interpreter, inline: readonly InlineKeys[]) {
    this.interpreter = interpreter;
    inline.forEach((keys, i) => {
      const op = ops.firstInline + i;
      if (keys.length === 1) this.known.set(keys[0], { op, handler: 0 });
      else this.pairs.set(`${keys[0]}+${keys[1]}`, op);
    });
  }

  handler(parsed: ParsedRow, variant: Variant, key: string): HandlerReference {
    let reference = this.known.get(key);
    if (!reference) {
      reference = { op: ops.call, handler: this.interpreter.addHandler(parsed, variant) };
      this.known.set(key, reference);
    }
    return reference;
  }

  fused(firstKey: string, secondKey: string): number {
    return this.pairs.get(`${firstKey}+${secondKey}`) ?? 0;
  }
}

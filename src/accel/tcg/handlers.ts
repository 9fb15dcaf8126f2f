/** Which handler runs which instruction: cases inlined in the loop, and functions emitted when first met. */
import type { ParsedRow, Variant } from '../../target/index.ts';
import type { HandlerReference, HandlerSource } from './code-cache.ts';
import type { HotCase } from './hot.ts';
import { type Interpreter, ops } from './interpreter.ts';

export class Handlers implements HandlerSource {
  private readonly known = new Map<string, HandlerReference>();
  private readonly pairs = new Map<string, number>();
  private readonly pairOps = new Set<number>();
  private readonly interpreter: Interpreter;

  /** @param inline the cases of `interpreter`'s loop, in order */
  constructor(interpreter: Interpreter, inline: readonly HotCase[]) {
    this.interpreter = interpreter;
    inline.forEach(({ keys, parts }, i) => {
      const op = ops.firstInline + i;
      for (const key of keys) {
        if (parts.length === 1) this.known.set(key, { op, handler: 0 });
        else {
          this.pairs.set(key, op);
          this.pairOps.add(op);
        }
      }
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

  isPair(op: number): boolean {
    return this.pairOps.has(op);
  }
}

/**
 * Samples what the interpreter runs. Every few hundred taken branches one basic
 * block runs alone: its records, from where it began to the branch that it took,
 * are a sample. Blocks are met as often as they run, so counts are proportional
 * to what a counter in every handler would say.
 */

import type { CodeCache, HandlerSource } from '../src/accel/tcg/code-cache.ts';
import { exit } from '../src/accel/tcg/emit/core-types.ts';
import { ops } from '../src/accel/tcg/interpreter.ts';
import { record } from '../src/accel/tcg/layout.ts';
import type { VcpuParts } from '../src/accel/tcg/vcpu.ts';
import type { Vcpu } from '../src/contract/index.ts';
import { CpuFault, modeBits, type ParsedRow, state, type Variant } from '../src/target/index.ts';
import type { Handler } from './profile-samples.ts';

export type OnSample = (block: readonly Handler[]) => void;

/** Taken branches between two samples: random, so that a loop's length does not matter. */
const INTERVAL_MIN = 200;
const INTERVAL_MAX = 600;
/** More records than the longest block and its fall-through have. */
const WALK_LIMIT = 500;

interface Known extends Handler {
  readonly ends: boolean;
}

/** What has no public name in the engine; a change there is to be followed here. */
interface Internals {
  readonly parts: Pick<VcpuParts, 'memory' | 'mmu' | 'system'> & {
    readonly code: Pick<CodeCache, 'recordAt'> & { readonly handlers: HandlerSource };
    readonly interpreter: { run: (start: number) => number };
  };
}

/** @param vcpu one of accel/tcg in tier `interpreter`, which has not run yet */
export function attachSampler(vcpu: Vcpu, onSample: OnSample): void {
  const { parts } = vcpu as unknown as Internals;
  const { code, interpreter, memory, system } = parts;
  const { cpu } = system;
  const view = new DataView(memory.buffer);
  const known = nameHandlers(code.handlers);
  const original = interpreter.run;

  interpreter.run = (start) => {
    if (cpu.get(state.mode) & modeBits.step) return original(start);
    // A full budget is a new slice's; what is left of a smaller one stays over exits for other reasons.
    if (cpu.get(state.budget) > INTERVAL_MAX) {
      cpu.set(state.budget, INTERVAL_MIN + Math.floor(Math.random() * (INTERVAL_MAX - INTERVAL_MIN)));
    }
    const ended = original(start);
    const isSpent = ended === exit.slice && cpu.get(state.budget) < 0;
    const at = isSpent && !cpu.get(state.interruptPending) ? nextRecord(parts) : 0;
    if (at === 0) return ended;
    const page = cpu.getBig(state.linear) & ~0xfffn;
    cpu.set(state.budget, 1);
    const answer = original(0);
    const stop = answer === exit.fault ? cpu.get(state.record) : 0;
    onSample(walk(view, known, { at, page, stop, next: cpu.getBig(state.linear) }));
    return answer;
  };
}

/** Handlers by case and index, filled as the decoder asks for them. */
function nameHandlers(source: HandlerSource): Map<string, Known> {
  const known = new Map<string, Known>();
  const byKey = new Map<string, Known>();
  const { handler, fused } = source;
  source.handler = (parsed, variant, key) => {
    const reference = handler.call(source, parsed, variant, key);
    const kind = reference.op === ops.call ? 'call' : 'case';
    const entry = { name: nameOf(parsed, variant), kind, ends: parsed.row.ends === true } as const;
    byKey.set(key, entry);
    known.set(`${reference.op}:${reference.handler}`, entry);
    return reference;
  };
  source.fused = (firstKey, secondKey) => {
    const op = fused.call(source, firstKey, secondKey);
    const first = byKey.get(firstKey);
    if (op !== 0 && first !== undefined) known.set(`${op}`, { ...first, kind: 'fused' });
    return op;
  };
  return known;
}

function nameOf({ row }: ParsedRow, variant: Variant): string {
  const { osize, memory, asize, vl, rep, long64 } = variant;
  const form = `${osize}${memory ? 'm' : 'r'}`;
  const rest = [
    ...(rep === 0 ? [] : [rep === 1 ? 'repne' : 'rep']),
    ...(vl === 16 ? [] : [`vl${vl}`]),
    ...(asize === 8 || !long64 ? [] : [`a${asize}`]),
    ...(long64 ? [] : ['not64']),
  ];
  return [row.mnemonic, row.pattern, row.operands, form, ...rest].filter((word) => word !== '').join(' ');
}

/** The record of the instruction that runs next, or 0 when there is none. */
function nextRecord({ code, mmu, system: { cpu } }: Internals['parts']): number {
  const low = cpu.get(state.linear);
  try {
    const page = mmu.fetchPage(low, cpu.high(state.linear));
    return page < 0 ? 0 : code.recordAt(page, cpu.get(state.mode), low & 0xfff);
  } catch (error) {
    // Its fetch will fault in order.
    if (error instanceof CpuFault) return 0;
    throw error;
  }
}

interface Path {
  readonly at: number;
  /** Linear address of the page. */
  readonly page: bigint;
  /** A record that faulted, or 0. */
  readonly stop: number;
  /** Linear address of what runs next. */
  readonly next: bigint;
}

/** The instructions from a record to the first that left: a branch to `next`, or one that always ends a block. */
function walk(view: DataView, known: ReadonlyMap<string, Known>, { at: first, page, stop, next }: Path): Handler[] {
  const block: Handler[] = [];
  let at = first;
  for (let steps = 0; steps < WALK_LIMIT; steps += 1) {
    const op = view.getUint16(at + record.op, true);
    if (op === ops.lookup || op === ops.stop || op === ops.step) break;
    if (op === ops.link) {
      at = view.getInt32(at + record.target, true);
      continue;
    }
    if (op !== ops.check) {
      const entry = known.get(`${op}`) ?? known.get(`${op}:${view.getUint16(at + record.handler, true)}`);
      if (entry === undefined) break;
      block.push(entry);
      const branchTarget = page + BigInt(view.getInt32(at + record.branch, true));
      if (entry.ends || at === stop || BigInt.asIntN(64, branchTarget) === BigInt.asIntN(64, next)) break;
    }
    at += record.size;
  }
  return block;
}

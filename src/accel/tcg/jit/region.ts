/** Finds a region: the basic blocks that a hot instruction reaches by direct branches within its page. */
import type { Instruction } from '../../../target/index.ts';

/** An instruction of a region. */
export interface RegionInstruction {
  /** Offset in the page. */
  readonly offset: number;
  readonly instruction: Instruction;
  /** Engine address of its record. */
  readonly record: number;
}

export interface BasicBlock {
  readonly offset: number;
  readonly instructions: RegionInstruction[];
  /** Offset behind the last instruction when the block falls through, or -1. */
  fallThrough: number;
}

export interface Region {
  /** The entry first. */
  readonly blocks: readonly BasicBlock[];
  readonly blockAt: ReadonlyMap<number, number>;
  readonly successors: readonly (readonly number[])[];
  readonly instructionCount: number;
}

/** Gives the decoded instruction at an offset of the page, or undefined where translation must stop. */
export type InstructionSource = (offset: number) => RegionInstruction | undefined;

const maxInstructions = 400;
const maxBlocks = 64;

/** Where an instruction may branch to directly, as an offset from its page, or undefined. */
export function branchTarget(at: RegionInstruction): number | undefined {
  const { instruction } = at;
  if (!instruction.parsed.operands.some((o) => o.type === 'J')) return undefined;
  return at.offset + instruction.length + Number(instruction.immediate);
}

/** @param entry offset in the page; there is always at least the entry's block, perhaps empty */
export function findRegion(entry: number, source: InstructionSource): Region {
  const leaders = findLeaders(entry, source);
  const blocks: BasicBlock[] = [];
  const blockAt = new Map<number, number>();
  let instructionCount = 0;
  for (const offset of leaders) {
    blockAt.set(offset, blocks.length);
    const block = readBlock(offset, source, leaders, maxInstructions - instructionCount);
    instructionCount += block.instructions.length;
    blocks.push(block);
  }
  const successors = blocks.map((block) => {
    const last = block.instructions.at(-1);
    // A block whose first instruction can not be translated only leads out.
    if (!last) return [];
    const targets = [block.fallThrough, branchTarget(last)];
    return targets.flatMap((t) => (t !== undefined && blockAt.has(t) ? [blockAt.get(t) as number] : []));
  });
  return { blocks, blockAt, successors, instructionCount };
}

/** Breadth first, so that what is near the entry is in when the limits bite. */
function findLeaders(entry: number, source: InstructionSource): Set<number> {
  const leaders = new Set([entry]);
  const queue = [entry];
  const seen = new Set<number>();
  const add = (offset: number): void => {
    if (offset < 0 || offset >= 4096 || leaders.has(offset) || leaders.size >= maxBlocks) return;
    leaders.add(offset);
    queue.push(offset);
  };
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    let offset = next;
    while (seen.size < maxInstructions) {
      const at = seen.has(offset) ? undefined : source(offset);
      if (!at) break;
      seen.add(offset);
      const target = branchTarget(at);
      offset += at.instruction.length;
      if (target === undefined && at.instruction.parsed.row.ends) break;
      if (target === undefined) continue;
      add(target);
      if (!at.instruction.parsed.row.ends) add(offset);
      break;
    }
  }
  return leaders;
}

/** @param limit the most instructions that the block may have; beyond them it leads out */
function readBlock(offset: number, source: InstructionSource, leaders: ReadonlySet<number>, limit: number): BasicBlock {
  const block: BasicBlock = { offset, instructions: [], fallThrough: -1 };
  let at = offset;
  while (block.instructions.length < limit) {
    const next = source(at);
    if (!next) break;
    block.instructions.push(next);
    at += next.instruction.length;
    if (next.instruction.parsed.row.ends) return block;
    if (branchTarget(next) !== undefined || leaders.has(at)) break;
  }
  block.fallThrough = at;
  return block;
}

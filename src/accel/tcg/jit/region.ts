/**
 * Finds a region: the basic blocks that a hot instruction reaches by branches, calls, and returns from these.
 *
 * Places are distances in bytes from the start of the entry's page; those outside 0 to 4095 are in other pages, which
 * the source of instructions may know or not.
 */
import type { Instruction } from '../../../target/index.ts';

/** An instruction of a region. */
export interface RegionInstruction {
  /** Distance from the start of the entry's page. */
  readonly offset: number;
  readonly instruction: Instruction;
  /** Engine address of its record. */
  readonly record: number;
}

export interface BasicBlock {
  readonly offset: number;
  readonly instructions: RegionInstruction[];
  /** The place behind the last instruction when the block falls through. */
  fallThrough: number | undefined;
  /** Where its last instruction is known to go, when that is an indirect branch. */
  targets: readonly number[];
}

export interface Region {
  /** The entry first. */
  readonly blocks: readonly BasicBlock[];
  readonly blockAt: ReadonlyMap<number, number>;
  readonly successors: readonly (readonly number[])[];
  readonly instructionCount: number;
}

export interface InstructionSource {
  /** The decoded instruction at a place, or undefined where translation must stop. */
  instruction(offset: number): RegionInstruction | undefined;
  /** Whether what starts at a place is known to be hardly ever run. */
  isCold(offset: number): boolean;
  /** Where an indirect branch was seen to go. */
  seenTargets(at: RegionInstruction): readonly number[];
}

export interface RegionLimits {
  readonly instructions: number;
  readonly blocks: number;
}

export const defaultLimits: RegionLimits = { instructions: 400, blocks: 64 };
/** The most targets that an indirect branch is given within a region. */
const maxTargets = 16;

/** Where an instruction may branch to directly, or undefined. */
export function branchTarget(at: RegionInstruction): number | undefined {
  const { instruction } = at;
  if (!instruction.parsed.operands.some((o) => o.type === 'J')) return undefined;
  return at.offset + instruction.length + Number(instruction.immediate);
}

/** Distance of a place's page from the entry's. */
export const pageOf = (offset: number): number => Math.floor(offset / 4096) * 4096;

const behind = (at: RegionInstruction): number => at.offset + at.instruction.length;
const rowOf = (at: RegionInstruction) => at.instruction.parsed.row;
const isCall = (at: RegionInstruction): boolean => rowOf(at).mnemonic === 'CALL';
const isReturn = (at: RegionInstruction): boolean => rowOf(at).mnemonic === 'RET';
/** Ends a block and goes to where a register or memory says. */
const isIndirect = (at: RegionInstruction): boolean => rowOf(at).ends === true && branchTarget(at) === undefined;

/** @param entry offset in the page; there is always at least the entry's block, perhaps empty */
export function findRegion(entry: number, source: InstructionSource, limits: RegionLimits = defaultLimits): Region {
  const search = new Search(source, limits);
  search.run(entry);
  const { leaders } = search;
  const blocks: BasicBlock[] = [];
  const blockAt = new Map<number, number>();
  let instructionCount = 0;
  for (const offset of leaders) {
    blockAt.set(offset, blocks.length);
    const block = readBlock(offset, source, leaders, limits.instructions - instructionCount);
    instructionCount += block.instructions.length;
    const last = block.instructions.at(-1);
    if (last && isIndirect(last)) block.targets = search.targetsOf(last);
    blocks.push(block);
  }
  const successors = blocks.map((block) => {
    const last = block.instructions.at(-1);
    // A block whose first instruction can not be translated only leads out.
    if (!last) return [];
    const targets = [block.fallThrough, branchTarget(last), ...block.targets];
    return targets.flatMap((t) => (t !== undefined && blockAt.has(t) ? [blockAt.get(t) as number] : []));
  });
  return { blocks, blockAt, successors, instructionCount };
}

/** A function that the region calls: where its calls come back to, and its return instructions. */
interface Callee {
  readonly returnSites: Set<number>;
  /** The functions that the calls are in, by return site. */
  readonly callers: Map<number, number>;
  hasReturn: boolean;
}

/** Breadth first, so that what is near the entry is in when the limits bite. */
class Search {
  readonly leaders = new Set<number>();
  private readonly source: InstructionSource;
  private readonly limits: RegionLimits;
  private readonly seen = new Set<number>();
  /** Block starts to read, each with the function (its start) that it belongs to. */
  private readonly queue: { offset: number; callee: number }[] = [];
  private readonly callees = new Map<number, Callee>();
  private readonly calleeOfReturn = new Map<number, number>();

  constructor(source: InstructionSource, limits: RegionLimits) {
    this.source = source;
    this.limits = limits;
  }

  run(entry: number): void {
    this.add(entry, entry);
    for (let next = this.queue.shift(); next; next = this.queue.shift()) this.read(next.offset, next.callee);
  }

  /** Where an indirect branch is known to go: what was seen, and for returns the calls of its function. */
  targetsOf(at: RegionInstruction): number[] {
    const callee = this.calleeOfReturn.get(at.offset);
    const sites = callee === undefined ? [] : (this.callees.get(callee)?.returnSites ?? []);
    return [...new Set([...this.source.seenTargets(at), ...sites])]
      .filter((t) => this.leaders.has(t))
      .slice(0, maxTargets);
  }

  private add(offset: number, callee: number): void {
    if (this.leaders.has(offset) || this.leaders.size >= this.limits.blocks) return;
    // The entry is a block in any case; others only where there is something to run.
    if (this.leaders.size > 0 && (!this.source.instruction(offset) || this.source.isCold(offset))) return;
    this.leaders.add(offset);
    this.queue.push({ offset, callee });
  }

  private callee(start: number): Callee {
    let callee = this.callees.get(start);
    if (!callee) {
      callee = { returnSites: new Set(), callers: new Map(), hasReturn: false };
      this.callees.set(start, callee);
    }
    return callee;
  }

  private read(start: number, callee: number): void {
    let offset = start;
    while (this.seen.size < this.limits.instructions) {
      const at = this.seen.has(offset) ? undefined : this.source.instruction(offset);
      if (!at) return;
      this.seen.add(offset);
      const target = branchTarget(at);
      offset = behind(at);
      const isLast = target !== undefined || rowOf(at).ends;
      // A block is of one page.
      if (!isLast && pageOf(offset) === pageOf(start)) continue;
      const targets = target !== undefined ? [target] : rowOf(at).ends ? this.source.seenTargets(at) : [];
      if (isCall(at)) for (const t of targets) this.call(t, offset, callee);
      else for (const t of targets) this.add(t, callee);
      if (isReturn(at)) this.return(at, callee);
      if (!rowOf(at).ends) this.add(offset, callee);
      return;
    }
  }

  private call(target: number, site: number, caller: number): void {
    this.add(target, target);
    if (!this.leaders.has(target)) return;
    const callee = this.callee(target);
    callee.returnSites.add(site);
    callee.callers.set(site, caller);
    if (callee.hasReturn) this.add(site, caller);
  }

  private return(at: RegionInstruction, start: number): void {
    const callee = this.callee(start);
    callee.hasReturn = true;
    this.calleeOfReturn.set(at.offset, start);
    for (const [site, caller] of callee.callers) this.add(site, caller);
  }
}

/** @param limit the most instructions that the block may have; beyond them it leads out */
function readBlock(offset: number, source: InstructionSource, leaders: ReadonlySet<number>, limit: number): BasicBlock {
  const block: BasicBlock = { offset, instructions: [], fallThrough: undefined, targets: [] };
  let at = offset;
  while (block.instructions.length < limit) {
    const next = source.instruction(at);
    if (!next) break;
    block.instructions.push(next);
    at += next.instruction.length;
    if (next.instruction.parsed.row.ends) return block;
    if (branchTarget(next) !== undefined || leaders.has(at) || pageOf(at) !== pageOf(offset)) break;
  }
  block.fallThrough = at;
  return block;
}

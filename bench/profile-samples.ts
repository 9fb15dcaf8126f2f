/** Counts of the instructions that an interpreter ran, and their table. */

/** One interpreter handler: an instruction in one variant. */
export interface Handler {
  /** Mnemonic, pattern, operands and variant, as hot.ts lists them: `MOV 8B /r Gv,Ev 8m`. */
  readonly name: string;
  /** A case of the interpreter's loop, a part of a fused case, or a function behind the table. */
  readonly kind: 'case' | 'fused' | 'call';
}

/** What ran in one section of the guest's work. */
export class Section {
  readonly name: string;
  /** Basic blocks looked at. */
  samples = 0;
  instructions = 0;
  readonly handlers = new Map<string, number>();
  /** Instructions that follow each other: `first + second`. */
  readonly pairs = new Map<string, number>();

  constructor(name: string) {
    this.name = name;
  }

  /** Adds one block's instructions, in their order. */
  add(block: readonly Handler[]): void {
    this.samples += 1;
    this.instructions += block.length;
    block.forEach((handler, index) => {
      countOne(this.handlers, label(handler));
      if (index > 0) countOne(this.pairs, `${block[index - 1].name} + ${handler.name}`);
    });
  }
}

const SECTION_ROWS = 12;
const TOTAL_ROWS = 60;
const PAIR_ROWS = 30;

/** Each section's most frequent handlers, then those of all sections, each section with the same weight. */
export function renderProfile(sections: readonly Section[]): string {
  const parts = sections.filter(({ instructions }) => instructions > 0);
  const total = (pick: (section: Section) => ReadonlyMap<string, number>) =>
    mean(parts.map((section) => shares(pick(section), section.instructions)));
  const handlers = (section: Section) => section.handlers;
  return [
    ...parts.map((section) => {
      const perSample = (section.instructions / section.samples).toFixed(1);
      const head = `${section.name}: ${section.samples} samples, ${perSample} instructions to a taken branch`;
      return block(head, shares(section.handlers, section.instructions), SECTION_ROWS);
    }),
    block(`all ${parts.length} sections, each with the same weight`, total(handlers), TOTAL_ROWS),
    block(
      'instructions that follow each other',
      total(({ pairs }) => pairs),
      PAIR_ROWS,
    ),
  ].join('\n');
}

function label({ kind, name }: Handler): string {
  return `${kind.padEnd(5)}  ${name}`;
}

function countOne(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function shares(counts: ReadonlyMap<string, number>, whole: number): Map<string, number> {
  return new Map([...counts].map(([key, count]) => [key, count / whole]));
}

function mean(parts: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const sum = new Map<string, number>();
  for (const part of parts) {
    for (const [key, share] of part) sum.set(key, (sum.get(key) ?? 0) + share / parts.length);
  }
  return sum;
}

function block(head: string, byKey: ReadonlyMap<string, number>, limit: number): string {
  const rows = [...byKey].sort(([, a], [, b]) => b - a).slice(0, limit);
  return `${[head, ...rows.map(([key, share]) => `${(100 * share).toFixed(2).padStart(7)} %  ${key}`)].join('\n')}\n`;
}

/** Runs one line of the human monitor. */
import { UserError } from '../../base/index.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { HMP } from './table.ts';

/** Words between spaces; in double quotes, a word may have spaces, and \" is a quote. */
export function wordsOf(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, bare]) =>
    quoted === undefined ? bare : quoted.replace(/\\(.)/g, '$1'),
  );
}

/** What the line prints, with carriage returns before newlines. What is wrong with it is printed too. */
export async function runLine(emulator: Emulator, line: string): Promise<string> {
  const [word, ...rest] = wordsOf(line);
  if (word === undefined) return '';
  // `xp/4xw 0x1000` has no space before its format.
  const [, name, format] = /^([^/]+)(\/.*)?$/.exec(word) ?? [];
  const found = Object.entries(HMP).find(([one, { aliases }]) => one === name || aliases?.includes(name));
  const args = format === undefined ? rest : [format, ...rest];
  return (await answer(emulator, found?.[1].run, args, word)).replaceAll('\n', '\r\n');
}

type Run = (typeof HMP)[string]['run'];

async function answer(
  emulator: Emulator,
  run: Run | undefined,
  args: readonly string[],
  word: string,
): Promise<string> {
  if (run === undefined) return `unknown command: '${word}'\n`;
  try {
    return await run(emulator, args);
  } catch (error) {
    if (error instanceof UserError) return `Error: ${error.message}\n`;
    emulator.reportBug(error);
    return `Error: a mistake of ours: ${String(error)}\n`;
  }
}

/** What the last word of a line may go on as. */
export function completions(emulator: Emulator, line: string): string[] {
  const words = line.trimStart().split(/\s+/);
  const last = words.at(-1) ?? '';
  const candidates =
    words.length < 2 ? Object.keys(HMP) : words.length === 2 ? (HMP[words[0]]?.complete?.(emulator) ?? []) : [];
  return candidates.filter((candidate) => candidate.startsWith(last)).toSorted();
}

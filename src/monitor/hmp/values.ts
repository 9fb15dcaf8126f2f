/** Words of the human monitor as values. */
import { QmpError } from '../qmp/errors.ts';

/** The words, when all that have a name are there. */
export function need(args: readonly string[], ...names: readonly string[]): string[] {
  for (const [index, name] of names.entries()) if (args[index] === undefined) throw new QmpError(`${name} is missing`);
  return [...args];
}

export function numberOf(text: string, name: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new QmpError(`'${text}' is not a number for ${name}`);
  return value;
}

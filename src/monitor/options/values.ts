/** Values on the command line as QEMU reads them: switches, numbers, sizes. */
import { UserError } from '../../base/index.ts';

const SUFFIXES = 'bkmgtpe';

/** `on`, `off`, `yes`, `no`, `true`, `false`, `y`, `n`. */
export function parseSwitch(name: string, text: string): boolean {
  if (['on', 'yes', 'true', 'y'].includes(text)) return true;
  if (['off', 'no', 'false', 'n'].includes(text)) return false;
  throw new UserError(`Parameter '${name}' expects 'on' or 'off'`);
}

export function parseNumber(name: string, text: string): number {
  const value = /^(?:0x[\da-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new UserError(`Parameter '${name}' expects a number`);
  return value;
}

/** Bytes: `512M`, `1.5G`, `0x1000`. @param unit What digits alone mean, e.g. `M`. */
export function parseBytes(name: string, text: string, unit = 'B'): number {
  const match = /^(?:(0x[\da-f]+)|(\d+(?:\.\d+)?))([bkmgtpe]?)$/i.exec(text);
  const power = match === null ? 0 : SUFFIXES.indexOf((match[3] || unit).toLowerCase());
  const value = match === null ? Number.NaN : Number(match[1] ?? match[2]) * 1024 ** power;
  if (Number.isSafeInteger(Math.floor(value))) return Math.floor(value);
  throw new UserError(
    `Parameter '${name}' expects a size: digits and k, M, G, T, P or E for powers of 1024, like 512M, not '${text}'`,
  );
}

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i;

export function parseUuid(text: string): string {
  if (!UUID.test(text)) throw new UserError(`'${text}' is not a UUID, such as 550e8400-e29b-41d4-a716-446655440000`);
  return text.toLowerCase();
}

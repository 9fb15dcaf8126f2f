/** The human monitor's xp: memory as rows of numbers. */
import type { Emulator } from '../emulator/emulator.ts';
import { QmpError } from '../qmp/errors.ts';

const SIZES: Readonly<Record<string, number>> = { b: 1, h: 2, w: 4, g: 8 };
const ROW_BYTES = 16;
const COUNT_MAX = 4096;

/** `/4xw 0x1000`: count, form and size in any order after the slash, then the address. */
export async function dumpMemory({ machine }: Emulator, args: readonly string[]): Promise<string> {
  if (machine === undefined) throw new QmpError('there is no machine (-machine none)');
  const [first, second] = args;
  const hasFormat = first?.startsWith('/') ?? false;
  const format = hasFormat ? first.slice(1) : '';
  const addressText = hasFormat ? second : first;
  const match = /^(\d*)([xduc]?)([bhwg]?)$/.exec(format) ?? /^(\d*)()([bhwg])[xduc]$/.exec(format);
  const address = Number(addressText);
  if (match === null || addressText === undefined || !Number.isSafeInteger(address)) {
    throw new QmpError('expected a format like /4xw, then an address');
  }
  const count = Math.min(match[1] === '' ? 1 : Number(match[1]), COUNT_MAX);
  const form = match[2] || 'x';
  const size = form === 'c' ? 1 : SIZES[match[3] || 'w'];
  const bytes = await machine.command('read-memory', { address, length: count * size });
  return rows(bytes, address, size, form);
}

function rows(bytes: Uint8Array, address: number, size: number, form: string): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += ROW_BYTES) {
    const row = bytes.subarray(at, at + ROW_BYTES);
    const cells: string[] = [];
    for (let i = 0; i < row.length; i += size) cells.push(cell(row.subarray(i, i + size), form));
    text += `${(address + at).toString(16).padStart(16, '0')}: ${cells.join(' ')}\n`;
  }
  return text;
}

function cell(bytes: Uint8Array, form: string): string {
  let value = 0n;
  for (const byte of [...bytes].reverse()) value = (value << 8n) | BigInt(byte);
  switch (form) {
    case 'd':
      return BigInt.asIntN(bytes.length * 8, value).toString();
    case 'u':
      return value.toString();
    case 'c':
      return `'${bytes[0] >= 0x20 && bytes[0] < 0x7f ? String.fromCharCode(bytes[0]) : `\\x${bytes[0].toString(16).padStart(2, '0')}`}'`;
    default:
      return `0x${value.toString(16).padStart(bytes.length * 2, '0')}`;
  }
}

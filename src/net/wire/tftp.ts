/** TFTP (RFC 1350) with options (RFC 2347 to 2349). */
import { concat, get16, latin1, latin1Text, put16 } from './bytes.ts';

export const TFTP_PORT = 69;
const OPCODE = { read: 1, write: 2, data: 3, acknowledge: 4, error: 5, optionAck: 6 } as const;
export const TFTP_ERROR = { undefined: 0, notFound: 1, illegal: 4, unknownTransfer: 5 } as const;
const FIELD_MAX = 32;

export type TftpRequest =
  | {
      readonly kind: 'read';
      readonly path: string;
      readonly mode: string;
      readonly options: ReadonlyMap<string, string>;
    }
  | { readonly kind: 'write' }
  | { readonly kind: 'acknowledge'; readonly block: number }
  | { readonly kind: 'error' };

/** What a server gets; undefined when malformed. */
export function parseTftp(bytes: Uint8Array): TftpRequest | undefined {
  if (bytes.length < 4) return undefined;
  switch (get16(bytes, 0)) {
    case OPCODE.read:
      return parseRead(bytes);
    case OPCODE.write:
      return { kind: 'write' };
    case OPCODE.acknowledge:
      return { kind: 'acknowledge', block: get16(bytes, 2) };
    case OPCODE.error:
      return { kind: 'error' };
    default:
      return undefined;
  }
}

function parseRead(bytes: Uint8Array): TftpRequest | undefined {
  if (bytes[bytes.length - 1] !== 0) return undefined;
  const [path, mode, ...rest] = latin1Text(bytes.subarray(2, bytes.length - 1)).split('\0');
  if (path === undefined || path === '' || mode === undefined || rest.length % 2 !== 0 || rest.length > FIELD_MAX) {
    return undefined;
  }
  const options = new Map<string, string>();
  for (let i = 0; i < rest.length; i += 2) options.set(rest[i].toLowerCase(), rest[i + 1]);
  return { kind: 'read', path, mode: mode.toLowerCase(), options };
}

export function tftpData(block: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + data.length);
  put16(bytes, 0, OPCODE.data);
  put16(bytes, 2, block);
  bytes.set(data, 4);
  return bytes;
}

export function tftpOptionAck(options: readonly (readonly [string, number])[]): Uint8Array {
  const text = options.map(([name, value]) => `${name}\0${value}\0`).join('');
  return concat([Uint8Array.of(0, OPCODE.optionAck), latin1(text)]);
}

export function tftpError(code: number, message: string): Uint8Array {
  return concat([Uint8Array.of(0, OPCODE.error, 0, code), latin1(`${message}\0`)]);
}

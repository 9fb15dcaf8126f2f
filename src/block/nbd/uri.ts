/** The names by which exports are opened: NBD URIs (NBD project, doc/uri.md) and QEMU's `nbd:` names. */
import { UserError } from '../../base/index.ts';
import type { HostEndpoint } from '../../contract/index.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';
import { NBD_PORT } from './wire.ts';

export interface NbdAddress {
  readonly endpoint: HostEndpoint;
  readonly exportName: string;
  /** The URI asks for TLS (`nbds://`). */
  readonly useTls: boolean;
}

/** Where a name points to, or undefined when it is no name of an NBD export. @throws UserError for a malformed one */
export function parseNbdName(name: string): NbdAddress | undefined {
  if (/^nbds?(\+(tcp|unix))?:\/\//.test(name)) return parseUri(name);
  return name.startsWith('nbd:') ? parseOldName(name) : undefined;
}

function malformed(name: string, what: string): never {
  throw new UserError(`${name}: ${what}; expecting nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH`);
}

function parseUri(name: string): NbdAddress {
  const [, scheme, authority, path, query = ''] =
    /^([a-z+]+):\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(name) ?? malformed(name, 'a malformed URI');
  const useTls = scheme.startsWith('nbds');
  const exportName = percentDecode(name, (path ?? '/').slice(1));
  if (scheme.endsWith('+unix')) {
    const socket = query.split('&').find((part) => part.startsWith('socket='));
    if (socket === undefined || authority !== '') malformed(name, 'a unix URI names its socket and no host');
    return { endpoint: { kind: 'unix', path: percentDecode(name, socket.slice(7)) }, exportName, useTls };
  }
  const host = authority.replace(/^[^@]*@/, '');
  const [, bracketed, plain, port] =
    /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(host) ?? malformed(name, 'a malformed host and port');
  const address = bracketed ?? plain;
  return {
    endpoint: { kind: 'inet', address: address === '' ? 'localhost' : address, port: portOf(name, port) },
    exportName,
    useTls,
  };
}

/** `nbd:HOST:PORT[:exportname=NAME]` and `nbd:unix:PATH[:exportname=NAME]`. */
function parseOldName(name: string): NbdAddress {
  const [, place, exportName = ''] = /^nbd:(.*?)(?::exportname=(.*))?$/s.exec(name)!;
  const common = { exportName, useTls: false };
  if (place.startsWith('unix:')) return { endpoint: { kind: 'unix', path: place.slice(5) }, ...common };
  const [, bracketed, plain, port] =
    /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(place) ?? malformed(name, 'a malformed host and port');
  return { endpoint: { kind: 'inet', address: bracketed ?? plain, port: portOf(name, port) }, ...common };
}

function portOf(name: string, text: string | undefined): number {
  const port = text === undefined ? NBD_PORT : Number(text);
  return port >= 1 && port <= 65535 ? port : malformed(name, `there is no port ${text}`);
}

/** %XX to bytes, read as UTF-8. */
function percentDecode(name: string, text: string): string {
  const bytes: number[] = [];
  for (let i = 0; i < text.length; ) {
    if (text[i] === '%') {
      const code = /^[0-9a-f]{2}$/i.test(text.slice(i + 1, i + 3)) ? text.slice(i + 1, i + 3) : undefined;
      if (code === undefined) malformed(name, 'a % that no two hexadecimal digits follow');
      bytes.push(Number.parseInt(code, 16));
      i += 3;
    } else {
      const character = String.fromCodePoint(text.codePointAt(i)!);
      bytes.push(...encodeUtf8(character));
      i += character.length;
    }
  }
  return decodeUtf8(Uint8Array.from(bytes));
}

/** DNS messages (RFC 1035, 4; RFC 3596) as far as a forwarder looks into them. */
import { concat, copyOf, get16, get32, latin1, latin1Text, put16, put32 } from './bytes.ts';
import type { IpAddress } from './ip-address.ts';

export const DNS_PORT = 53;
export const DNS_TYPE = { a: 1, ptr: 12, aaaa: 28 } as const;
export const DNS_RCODE = { noError: 0, formatError: 1, serverFailure: 2, nameError: 3, refused: 5 } as const;
const CLASS_IN = 1;
const HEADER_BYTES = 12;
const NAME_MAX_BYTES = 255;
const LABEL_MAX_BYTES = 63;
const POINTER_MAX = 32;
/** A forwarder looks at no more records than this. */
const RECORD_MAX = 256;

export interface DnsQuestion {
  /** Lower case, without the dot at the end; '' is the root. Bytes that are no ASCII letter, digit, - or _ are escaped as `\ddd`. */
  readonly name: string;
  readonly type: number;
  /** Where the question section ends in the message. */
  readonly endOffset: number;
}

export interface DnsAddress {
  readonly address: IpAddress;
  readonly ttlSeconds: number;
}

/** The one question of a query in class IN; undefined for anything else, as no forwarder gets anything else in practice. */
export function parseDnsQuery(bytes: Uint8Array): DnsQuestion | undefined {
  const isQuery = bytes.length > HEADER_BYTES && (bytes[2] & 0xf8) === 0;
  if (!isQuery || get16(bytes, 4) !== 1 || get16(bytes, 6) !== 0) return undefined;
  return parseQuestion(bytes);
}

function parseQuestion(bytes: Uint8Array): DnsQuestion | undefined {
  const name = readName(bytes, HEADER_BYTES);
  if (name === undefined || name.end + 4 > bytes.length || get16(bytes, name.end + 2) !== CLASS_IN) return undefined;
  return { name: name.text, type: get16(bytes, name.end), endOffset: name.end + 4 };
}

export function isDnsResponse(bytes: Uint8Array): boolean {
  return bytes.length >= HEADER_BYTES && (bytes[2] & 0x80) !== 0;
}

/** True when a response repeats the question of `query` (RFC 5452, 9.1). Errors may leave it out. */
export function answersQuestion(response: Uint8Array, question: DnsQuestion): boolean {
  if (!isDnsResponse(response)) return false;
  if (get16(response, 4) === 0) return (response[3] & 0xf) !== DNS_RCODE.noError;
  const theirs = parseQuestion(response);
  return theirs !== undefined && theirs.name === question.name && theirs.type === question.type;
}

/** The addresses in a response's answer section; fewer when it is malformed. */
export function dnsAddresses(response: Uint8Array): DnsAddress[] {
  const addresses: DnsAddress[] = [];
  const question = get16(response, 4) === 1 ? parseQuestion(response) : undefined;
  if (question === undefined) return addresses;
  let at = question.endOffset;
  for (let i = 0; i < Math.min(get16(response, 6), RECORD_MAX); i++) {
    const name = readName(response, at);
    if (name === undefined || name.end + 10 > response.length) break;
    const [type, dataClass] = [get16(response, name.end), get16(response, name.end + 2)];
    const dataBytes = get16(response, name.end + 8);
    at = name.end + 10 + dataBytes;
    if (at > response.length) break;
    const isAddress = (type === DNS_TYPE.a && dataBytes === 4) || (type === DNS_TYPE.aaaa && dataBytes === 16);
    if (isAddress && dataClass === CLASS_IN) {
      const ttlSeconds = get32(response, name.end + 4);
      addresses.push({ address: copyOf(response.subarray(name.end + 10, at)), ttlSeconds });
    }
  }
  return addresses;
}

/** An answer made here: header, the query's question, and addresses of its type. */
export function buildDnsAnswer(
  query: Uint8Array,
  question: DnsQuestion,
  rcode: number,
  addresses: readonly DnsAddress[] = [],
): Uint8Array {
  const head = copyOf(query.subarray(0, question.endOffset));
  head[2] = 0x80 | (query[2] & 0x01); // a response; recursion desired as it was
  head[3] = 0x80 | rcode; // recursion available
  put16(head, 6, addresses.length);
  put32(head, 8, 0);
  const records = addresses.map(({ address, ttlSeconds }) => {
    const record = new Uint8Array(12 + address.length);
    put16(record, 0, 0xc000 | HEADER_BYTES); // the question's name
    put16(record, 2, address.length === 4 ? DNS_TYPE.a : DNS_TYPE.aaaa);
    put16(record, 4, CLASS_IN);
    put32(record, 6, ttlSeconds);
    put16(record, 10, address.length);
    record.set(address, 12);
    return record;
  });
  return concat([head, ...records]);
}

/** A name in wire form; undefined when it is none. */
export function encodeDnsName(name: string): Uint8Array | undefined {
  const labels = name.replace(/\.$/, '').split('.');
  if (labels.some((label) => label.length === 0 || label.length > LABEL_MAX_BYTES)) return undefined;
  const bytes = concat([...labels.flatMap((label) => [Uint8Array.of(label.length), latin1(label)]), Uint8Array.of(0)]);
  return bytes.length <= NAME_MAX_BYTES ? bytes : undefined;
}

function readName(bytes: Uint8Array, start: number): { readonly text: string; readonly end: number } | undefined {
  const labels: string[] = [];
  let end: number | undefined;
  let pointers = 0;
  let total = 0;
  for (let at = start; ; ) {
    if (at >= bytes.length) return undefined;
    const length = bytes[at];
    if (length === 0) return { text: labels.join('.'), end: end ?? at + 1 };
    if (length >= 0xc0) {
      if (at + 1 >= bytes.length || pointers++ === POINTER_MAX) return undefined;
      end ??= at + 2;
      at = get16(bytes, at) & 0x3fff;
      continue;
    }
    total += length + 1;
    if (length > LABEL_MAX_BYTES || at + 1 + length > bytes.length || total >= NAME_MAX_BYTES) return undefined;
    labels.push(labelText(bytes.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
}

/** A dot or a strange byte inside a label cannot make it look like another name. */
function labelText(label: Uint8Array): string {
  return latin1Text(label)
    .toLowerCase()
    .replace(/[^a-z0-9_-]/g, (character) => `\\${String(character.charCodeAt(0)).padStart(3, '0')}`);
}

/** TCP segments (RFC 9293, 3.1; options of RFC 7323 and RFC 2018). */
import { get16, get32, put16, put32 } from './bytes.ts';
import { checksum, pseudoHeaderSum } from './checksum.ts';
import { PROTOCOL } from './ip.ts';
import type { TransportContext } from './udp.ts';

export const TCP_HEADER_BYTES = 20;
export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
const FLAGS_MASK = 0x1f;
const OPTION = { end: 0, noOperation: 1, mss: 2, windowScale: 3, sackPermitted: 4, sack: 5 } as const;
/** RFC 7323, 2.3: a larger shift is taken as 14. */
const WINDOW_SCALE_MAX = 14;

export interface TcpOptions {
  /** Not 0. */
  readonly mss?: number;
  /** 0 to 14. */
  readonly windowScale?: number;
  readonly sackPermitted?: boolean;
  /** What arrived beyond the acknowledgement: at most `SACK_BLOCKS_MAX`; written, not read. */
  readonly sackBlocks?: readonly SackBlock[];
}

export interface SackBlock {
  readonly start: number;
  /** One after the last. */
  readonly end: number;
}

/** As many as fit the 40 bytes of options. */
export const SACK_BLOCKS_MAX = 4;

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  /** Of TCP_FLAG. */
  readonly flags: number;
  /** As in the header: not scaled. */
  readonly window: number;
  readonly options: TcpOptions;
  readonly payload: Uint8Array;
}

const NO_OPTIONS: TcpOptions = {};

export function parseTcp(bytes: Uint8Array, context: TransportContext): TcpSegment | undefined {
  if (bytes.length < TCP_HEADER_BYTES) return undefined;
  const headerBytes = (bytes[12] >> 4) * 4;
  if (headerBytes < TCP_HEADER_BYTES || headerBytes > bytes.length) return undefined;
  const { source, destination, trustChecksum } = context;
  if (trustChecksum !== true) {
    const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.tcp, bytes.length);
    if (checksum(bytes, 0, bytes.length, pseudo) !== 0) return undefined;
  }
  return {
    sourcePort: get16(bytes, 0),
    destinationPort: get16(bytes, 2),
    sequence: get32(bytes, 4),
    acknowledgement: get32(bytes, 8),
    flags: bytes[13] & FLAGS_MASK,
    window: get16(bytes, 14),
    options: headerBytes === TCP_HEADER_BYTES ? NO_OPTIONS : parseOptions(bytes, headerBytes),
    payload: bytes.subarray(headerBytes),
  };
}

/** Options that are malformed end the list; the segment stands (RFC 9293, 3.1). */
function parseOptions(bytes: Uint8Array, end: number): TcpOptions {
  const options: { -readonly [Key in keyof TcpOptions]: TcpOptions[Key] } = {};
  for (let at = TCP_HEADER_BYTES; at < end && bytes[at] !== OPTION.end; ) {
    if (bytes[at] === OPTION.noOperation) {
      at++;
      continue;
    }
    const length = at + 1 < end ? bytes[at + 1] : 0;
    if (length < 2 || at + length > end) break;
    if (bytes[at] === OPTION.mss && length === 4 && get16(bytes, at + 2) > 0) options.mss = get16(bytes, at + 2);
    if (bytes[at] === OPTION.windowScale && length === 3) {
      options.windowScale = Math.min(bytes[at + 2], WINDOW_SCALE_MAX);
    }
    if (bytes[at] === OPTION.sackPermitted && length === 2) options.sackPermitted = true;
    at += length;
  }
  return options;
}

export function tcpHeaderBytes({ mss, windowScale, sackPermitted, sackBlocks = [] }: TcpOptions): number {
  const sackBytes = sackBlocks.length === 0 ? 0 : 4 + 8 * sackBlocks.length;
  const fixedBytes = (mss === undefined ? 0 : 4) + (windowScale === undefined ? 0 : 4) + (sackPermitted ? 4 : 0);
  return TCP_HEADER_BYTES + fixedBytes + sackBytes;
}

/** Writes the header and options, with checksum 0; the payload is what the caller puts behind them. */
export function putTcpHeader(target: Uint8Array, offset: number, segment: Omit<TcpSegment, 'payload'>): void {
  put16(target, offset, segment.sourcePort);
  put16(target, offset + 2, segment.destinationPort);
  put32(target, offset + 4, segment.sequence);
  put32(target, offset + 8, segment.acknowledgement);
  target[offset + 12] = (tcpHeaderBytes(segment.options) / 4) << 4;
  target[offset + 13] = segment.flags;
  put16(target, offset + 14, segment.window);
  put32(target, offset + 16, 0);
  let at = offset + TCP_HEADER_BYTES;
  for (const word of optionWords(segment.options)) {
    put32(target, at, word);
    at += 4;
  }
}

/** Each option filled to whole words with no-operations. */
function optionWords({ mss, windowScale, sackPermitted, sackBlocks = [] }: TcpOptions): number[] {
  const padding = (OPTION.noOperation << 24) | (OPTION.noOperation << 16);
  const words: number[] = [];
  if (mss !== undefined) words.push((OPTION.mss << 24) | (4 << 16) | mss);
  if (windowScale !== undefined) {
    words.push((OPTION.noOperation << 24) | (OPTION.windowScale << 16) | (3 << 8) | windowScale);
  }
  if (sackPermitted) words.push(padding | (OPTION.sackPermitted << 8) | 2);
  if (sackBlocks.length > 0) words.push(padding | (OPTION.sack << 8) | (2 + 8 * sackBlocks.length));
  for (const { start, end } of sackBlocks) words.push(start, end);
  return words;
}

export function buildTcp(segment: TcpSegment, { source, destination }: TransportContext): Uint8Array {
  const headerBytes = tcpHeaderBytes(segment.options);
  const bytes = new Uint8Array(headerBytes + segment.payload.length);
  putTcpHeader(bytes, 0, segment);
  bytes.set(segment.payload, headerBytes);
  put16(bytes, 16, checksum(bytes, 0, bytes.length, pseudoHeaderSum(source, destination, PROTOCOL.tcp, bytes.length)));
  return bytes;
}

/** Sequence numbers wrap at 2^32 (RFC 9293, 3.4). */
export function seqAdd(sequence: number, count: number): number {
  return (sequence + count) >>> 0;
}

/** How far `a` is ahead of `b`: negative when behind. */
export function seqDistance(a: number, b: number): number {
  return (a - b) | 0;
}

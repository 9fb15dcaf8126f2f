/** The messages of the Network Block Device protocol as tables (NBD project, doc/proto.md). All are big-endian. */
import { flags64be, type LayoutOf, layout, u16be, u32be, u64be, viewOf } from '../layout.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';

export const NBD_PORT = 10809;

export const MAGIC = {
  server: 0x4e42444d41474943n,
  option: 0x49484156454f5054n,
  oldStyle: 0x00420281861253n,
  optionReply: 0x0003e889045565a9n,
  request: 0x25609513,
  extendedRequest: 0x21e41c71,
  simpleReply: 0x67446698,
  structuredReply: 0x668e33ef,
  extendedReply: 0x6e8a278c,
} as const;

export const HANDSHAKE_FLAG = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const;

const REPLY_ERROR = 0x80000000;
export const OPTION_REPLY = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: REPLY_ERROR + 1,
  policy: REPLY_ERROR + 2,
  invalid: REPLY_ERROR + 3,
  platform: REPLY_ERROR + 4,
  tlsRequired: REPLY_ERROR + 5,
  unknown: REPLY_ERROR + 6,
  shutdown: REPLY_ERROR + 7,
  blockSizeRequired: REPLY_ERROR + 8,
  tooBig: REPLY_ERROR + 9,
  extendedHeadersRequired: REPLY_ERROR + 10,
} as const;

export function isOptionError(reply: number): boolean {
  return reply >= REPLY_ERROR;
}

export const INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** Transmission flags: what an export can do. The names are those that qemu-nbd --list prints. */
export const EXPORT_FLAG = {
  'has-flags': 1,
  readonly: 2,
  flush: 4,
  fua: 8,
  rotational: 16,
  trim: 32,
  zeroes: 64,
  df: 128,
  multi: 256,
  resize: 512,
  cache: 1024,
  'fast-zero': 2048,
  'block-status-payload': 4096,
} as const;

export const COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const COMMAND_FLAG = { fua: 1, noHole: 2, dontFragment: 4, requestOne: 8, fastZero: 16, payload: 32 } as const;

export const CHUNK_FLAG = { done: 1 } as const;
const CHUNK_ERROR = 0x8000;
export const CHUNK = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  blockStatusExtended: 6,
  error: CHUNK_ERROR + 1,
  errorOffset: CHUNK_ERROR + 2,
} as const;

export function isChunkError(type: number): boolean {
  return type >= CHUNK_ERROR;
}

export const NBD_ERROR = {
  notPermitted: 1,
  io: 5,
  noMemory: 12,
  invalid: 22,
  noSpace: 28,
  overflow: 75,
  notSupported: 95,
  shutdown: 108,
} as const;

/** Flags of the context `base:allocation`. */
export const ALLOCATION = { hole: 1, zero: 2 } as const;
export const BASE_ALLOCATION = 'base:allocation';

/** The largest payload of a message that is not a write or a read. */
export const OPTION_BYTES_MAX = 64 * 1024;
/** The largest read or write, on both sides. */
export const PAYLOAD_BYTES_MAX = 32 * 2 ** 20;
/** Longest name of an export or a context, in bytes of UTF-8 (doc/proto.md, "Values"). */
export const NAME_BYTES_MAX = 4096;

export const serverGreeting = layout({ magic: flags64be, option: flags64be, flags: u16be });
export const clientFlags = layout({ flags: u32be });
export const optionHeader = layout({ magic: flags64be, option: u32be, length: u32be });
export const optionReply = layout({ magic: flags64be, option: u32be, type: u32be, length: u32be });
/** The answer to EXPORT_NAME; 124 zeros follow unless the client said NO_ZEROES. */
export const exportAnswer = layout({ sizeBytes: u64be, flags: u16be });
export const EXPORT_ANSWER_PADDING = 124;

export const infoExport = layout({ type: u16be, sizeBytes: u64be, flags: u16be });
export const infoBlockSize = layout({ type: u16be, minBytes: u32be, preferredBytes: u32be, maxBytes: u32be });

const request = { magic: u32be, flags: u16be, type: u16be, cookie: flags64be, offset: u64be };
export const compactRequest = layout({ ...request, length: u32be });
export const extendedRequest = layout({ ...request, length: u64be });
export type Request = LayoutOf<typeof extendedRequest>;

export const simpleReply = layout({ magic: u32be, error: u32be, cookie: flags64be });
export const structuredReply = layout({ magic: u32be, flags: u16be, type: u16be, cookie: flags64be, length: u32be });
export const extendedReply = layout({
  magic: u32be,
  flags: u16be,
  type: u16be,
  cookie: flags64be,
  offset: u64be,
  length: u64be,
});
export const holeChunk = layout({ offset: u64be, length: u32be });
export const errorChunk = layout({ error: u32be, messageBytes: u16be });
export const statusExtent = layout({ length: u32be, flags: u32be });
export const wideStatusExtent = layout({ length: u64be, flags: u64be });

/** A string with its length before it. */
export function lengthAndText(text: string): Uint8Array[] {
  const bytes = encodeUtf8(text);
  return [number32(bytes.length), bytes];
}

export function number16(value: number): Uint8Array {
  const bytes = new Uint8Array(2);
  viewOf(bytes).setUint16(0, value);
  return bytes;
}

export function number32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value);
  return bytes;
}

/** Walks through a payload; every getter is undefined beyond its end. */
export interface Cursor {
  u16(): number | undefined;
  u32(): number | undefined;
  /** A string with its length before it. */
  text(): string | undefined;
  rest(): Uint8Array;
}

export function cursorOf(bytes: Uint8Array): Cursor {
  const view = viewOf(bytes);
  let at = 0;
  const u32 = () => {
    if (at + 4 > bytes.length) return undefined;
    at += 4;
    return view.getUint32(at - 4);
  };
  return {
    u32,
    u16() {
      if (at + 2 > bytes.length) return undefined;
      at += 2;
      return view.getUint16(at - 2);
    },
    text() {
      const length = u32();
      if (length === undefined || length > NAME_BYTES_MAX || at + length > bytes.length) return undefined;
      at += length;
      return decodeUtf8(bytes.subarray(at - length, at));
    },
    rest: () => bytes.subarray(at),
  };
}

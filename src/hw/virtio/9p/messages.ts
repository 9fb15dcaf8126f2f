/**
 * The messages of 9P2000, 9P2000.u and 9P2000.L as tables: intro(9P), RFC-like notes of
 * 9p2000.u, and Documentation/filesystems/9p.rst with include/net/9p/9p.h of Linux.
 * A request has an even number; its reply has the next one. Every message begins with
 * size[4] type[1] tag[2].
 */
import type { Fields, ValuesOf } from './codec.ts';

export const HEADER_BYTES = 7;
/** Tag of Tversion. */
export const NO_TAG = 0xffff;
/** No fid; no user. */
export const NO_FID = 0xffff_ffff;

function message<const Q extends Fields, const R extends Fields>(type: number, request: Q, reply: R) {
  return { type, request, reply };
}

const TIMES = {
  accessedSeconds: 'u64',
  accessedNanos: 'u64',
  modifiedSeconds: 'u64',
  modifiedNanos: 'u64',
} as const;
const LOCK = { kind: 'u8', start: 'u64', length: 'u64', process: 'u32', client: 'string' } as const;

/** In every dialect. */
export const COMMON = {
  version: message(100, { messageBytes: 'u32', version: 'string' }, { messageBytes: 'u32', version: 'string' }),
  attach: message(104, { fid: 'u32', authFid: 'u32', userName: 'string', tree: 'string', uid: 'u32' }, { qid: 'qid' }),
  flush: message(108, { tag: 'u16' }, {}),
  walk: message(110, { fid: 'u32', newFid: 'u32', names: 'names' }, { qids: 'qids' }),
  read: message(116, { fid: 'u32', offset: 'u64', count: 'u32' }, { data: 'data' }),
  write: message(118, { fid: 'u32', offset: 'u64', data: 'data' }, { count: 'u32' }),
  clunk: message(120, { fid: 'u32' }, {}),
  remove: message(122, { fid: 'u32' }, {}),
} as const;

/** 9P2000.L only. */
export const LINUX = {
  statfs: message(
    8,
    { fid: 'u32' },
    {
      type: 'u32',
      blockBytes: 'u32',
      blocks: 'u64',
      freeBlocks: 'u64',
      availableBlocks: 'u64',
      files: 'u64',
      freeFiles: 'u64',
      fileSystem: 'u64',
      nameBytesMax: 'u32',
    },
  ),
  lopen: message(12, { fid: 'u32', flags: 'u32' }, { qid: 'qid', unitBytes: 'u32' }),
  lcreate: message(
    14,
    { fid: 'u32', name: 'string', flags: 'u32', mode: 'u32', gid: 'u32' },
    { qid: 'qid', unitBytes: 'u32' },
  ),
  symlink: message(16, { fid: 'u32', name: 'string', target: 'string', gid: 'u32' }, { qid: 'qid' }),
  mknod: message(
    18,
    { fid: 'u32', name: 'string', mode: 'u32', major: 'u32', minor: 'u32', gid: 'u32' },
    { qid: 'qid' },
  ),
  rename: message(20, { fid: 'u32', folderFid: 'u32', name: 'string' }, {}),
  readlink: message(22, { fid: 'u32' }, { target: 'string' }),
  getattr: message(
    24,
    { fid: 'u32', mask: 'u64' },
    {
      valid: 'u64',
      qid: 'qid',
      mode: 'u32',
      uid: 'u32',
      gid: 'u32',
      links: 'u64',
      deviceNumber: 'u64',
      sizeBytes: 'u64',
      blockBytes: 'u64',
      blocks: 'u64',
      ...TIMES,
      changedSeconds: 'u64',
      changedNanos: 'u64',
      bornSeconds: 'u64',
      bornNanos: 'u64',
      generation: 'u64',
      dataVersion: 'u64',
    },
  ),
  setattr: message(
    26,
    { fid: 'u32', valid: 'u32', mode: 'u32', uid: 'u32', gid: 'u32', sizeBytes: 'u64', ...TIMES },
    {},
  ),
  xattrwalk: message(30, { fid: 'u32', newFid: 'u32', name: 'string' }, { sizeBytes: 'u64' }),
  xattrcreate: message(32, { fid: 'u32', name: 'string', sizeBytes: 'u64', flags: 'u32' }, {}),
  readdir: message(40, { fid: 'u32', offset: 'u64', count: 'u32' }, { data: 'data' }),
  fsync: message(50, { fid: 'u32', dataOnly: 'u32' }, {}),
  lock: message(
    52,
    {
      fid: 'u32',
      kind: 'u8',
      flags: 'u32',
      start: 'u64',
      length: 'u64',
      process: 'u32',
      client: 'string',
    },
    { status: 'u8' },
  ),
  getlock: message(54, { fid: 'u32', ...LOCK }, LOCK),
  link: message(70, { folderFid: 'u32', fid: 'u32', name: 'string' }, {}),
  mkdir: message(72, { fid: 'u32', name: 'string', mode: 'u32', gid: 'u32' }, { qid: 'qid' }),
  renameat: message(74, { oldFolderFid: 'u32', oldName: 'string', newFolderFid: 'u32', newName: 'string' }, {}),
  unlinkat: message(76, { folderFid: 'u32', name: 'string', flags: 'u32' }, {}),
} as const;

/** 9P2000.u only. */
export const UNIX = {
  open: message(112, { fid: 'u32', mode: 'u8' }, { qid: 'qid', unitBytes: 'u32' }),
  create: message(
    114,
    { fid: 'u32', name: 'string', permissions: 'u32', mode: 'u8', extension: 'string' },
    { qid: 'qid', unitBytes: 'u32' },
  ),
  stat: message(124, { fid: 'u32' }, { data: 'shortData' }),
  wstat: message(126, { fid: 'u32', data: 'shortData' }, {}),
} as const;

export const ERROR_REPLY = {
  linux: { type: 7, fields: { errno: 'u32' } },
  unix: { type: 107, fields: { text: 'string', errno: 'u32' } },
} as const;

type Messages = Readonly<Record<string, { readonly type: number; readonly request: Fields; readonly reply: Fields }>>;
export type RequestOf<M extends Messages, Name extends keyof M> = ValuesOf<M[Name]['request']>;
export type ReplyOf<M extends Messages, Name extends keyof M> = ValuesOf<M[Name]['reply']>;

/** One operation a message; each throws `FileError`. */
export type Operations<M extends Messages> = {
  readonly [Name in keyof M]: (request: RequestOf<M, Name>) => ReplyOf<M, Name> | Promise<ReplyOf<M, Name>>;
};

/** A message with what carries it out, types erased. */
export interface Operation {
  readonly name: string;
  readonly request: Fields;
  readonly reply: Fields;
  readonly replyType: number;
  carryOut(request: unknown): unknown;
}

/** Operations by the number of their message. */
export function operationTable<M extends Messages>(messages: M, operations: Operations<M>): Map<number, Operation> {
  return new Map(
    Object.entries(messages).map(([name, { type, request, reply }]) => {
      const carryOut = operations[name] as (request: unknown) => unknown;
      return [type, { name, request, reply, replyType: type + 1, carryOut }];
    }),
  );
}

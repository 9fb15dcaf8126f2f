/** One client's session: agrees on a dialect, carries messages out, answers each once. */
import { ERRNO, FileError } from '../../../base/index.ts';
import { type Fields, MalformedMessage, Reader, type ValuesOf, Writer } from './codec.ts';
import { COMMON, ERROR_REPLY, LINUX, NO_TAG, type Operation, operationTable, UNIX } from './messages.ts';
import { commonOperations } from './operations-common.ts';
import { linuxOperations } from './operations-linux.ts';
import { readFolderStatuses, unixOperations } from './operations-unix.ts';
import { Tree, type TreeOptions } from './tree.ts';

/** Sizes of messages that can be agreed on; Linux's virtio transport goes up to half a MiB. */
export const MESSAGE_BYTES = { min: 4096, max: 1024 * 1024 };

const VERSION = { linux: '9P2000.L', unix: '9P2000.u', unknown: 'unknown' } as const;
/** A message in pieces. What a file's content is in is borrowed until the next message. */
export type Answer = readonly Uint8Array[];

/** Before a version is agreed on. */
const NOTHING: ReadonlyMap<number, Operation> = new Map();

export class Session {
  readonly tree: Tree;
  #messageBytes = MESSAGE_BYTES.max;
  #dialect: 'linux' | 'unix' = 'linux';
  #operations = NOTHING;
  /** Requests that wait for the host, by tag. */
  readonly #pending = new Map<number, Promise<unknown>>();

  constructor(options: TreeOptions) {
    this.tree = new Tree(options);
  }

  /** How long a message may be. */
  get messageBytes(): number {
    return this.#messageBytes;
  }

  /** Does the client have anything in its hands? */
  get isInUse(): boolean {
    return this.tree.handles.fidCount > 0;
  }

  /** Answers one message, which is borrowed until the call returns. Never throws for what a guest sent. */
  answer(message: Uint8Array): Answer | Promise<Answer> {
    const header = new Reader(message);
    const [sizeBytes, type, tag] = [header.u32(), header.u8(), header.u16()];
    const fail = (error: unknown) => this.#failure(tag, error);
    try {
      if (sizeBytes !== message.length) throw new MalformedMessage('is not as long as it says');
      if (type === COMMON.version.type) return this.#version(tag, header.fields(COMMON.version.request));
      if (type === COMMON.flush.type) return this.#flush(tag, header.fields(COMMON.flush.request).tag);
      const operation = this.#operations.get(type);
      if (operation === undefined) throw new FileError(ERRNO.notSupported);
      const { replyType, reply } = operation;
      const done = operation.carryOut(header.fields(operation.request));
      if (!(done instanceof Promise)) return encode(replyType, tag, reply, done as ValuesOf<Fields>);
      const answered = done.then((values) => encode(replyType, tag, reply, values), fail);
      this.#pending.set(tag, answered);
      return answered.finally(() => this.#pending.delete(tag));
    } catch (error) {
      return fail(error);
    }
  }

  /** Forgets the client. */
  reset(): void {
    this.tree.handles.clear();
    this.#operations = NOTHING;
    this.#messageBytes = MESSAGE_BYTES.max;
  }

  #version(tag: number, { messageBytes, version }: ValuesOf<typeof COMMON.version.request>): Answer {
    this.reset();
    if (tag !== NO_TAG || messageBytes < MESSAGE_BYTES.min) return this.#failure(tag, new FileError(ERRNO.invalid));
    const agreedBytes = Math.min(messageBytes, MESSAGE_BYTES.max);
    const agreed = version === VERSION.linux || version === VERSION.unix ? version : VERSION.unknown;
    if (agreed !== VERSION.unknown) this.#begin(agreed === VERSION.linux ? 'linux' : 'unix', agreedBytes);
    return encode(COMMON.version.type + 1, tag, COMMON.version.reply, { messageBytes: agreedBytes, version: agreed });
  }

  #begin(dialect: 'linux' | 'unix', messageBytes: number): void {
    const { version: _, flush: __, ...common } = COMMON;
    const { tree } = this;
    this.#dialect = dialect;
    this.#messageBytes = messageBytes;
    this.#operations = new Map([
      ...operationTable(
        common,
        commonOperations(tree, messageBytes, dialect === 'unix' ? readFolderStatuses(tree) : undefined),
      ),
      ...(dialect === 'linux'
        ? operationTable(LINUX, linuxOperations(tree, messageBytes))
        : operationTable(UNIX, unixOperations(tree))),
    ]);
  }

  /** Answers after the request that it is about has been answered (flush(9P)). */
  #flush(tag: number, oldTag: number): Answer | Promise<Answer> {
    const answer = encode(COMMON.flush.type + 1, tag, COMMON.flush.reply, {});
    const pending = this.#pending.get(oldTag);
    return pending === undefined ? answer : pending.then(() => answer);
  }

  #failure(tag: number, error: unknown): Answer {
    const errno =
      error instanceof FileError ? error.errno : error instanceof MalformedMessage ? ERRNO.protocol : undefined;
    if (errno === undefined) throw error;
    const { type, fields } = ERROR_REPLY[this.#dialect];
    return encode(type, tag, fields as Fields, { errno, text: `errno ${errno}` });
  }
}

function encode(type: number, tag: number, fields: Fields, values: ValuesOf<Fields>): Answer {
  const writer = new Writer();
  writer.u32(0);
  writer.u8(type);
  writer.u16(tag);
  const { data } = values;
  if (fields.data !== 'data' || !(data instanceof Uint8Array)) {
    writer.fields(fields, values);
    writer.patch(0, writer.length);
    return [writer.result()];
  }
  // Content is all that such an answer has, and the last of it: it need not be copied.
  writer.u32(data.length);
  writer.patch(0, writer.length + data.length);
  return [writer.result(), data];
}

/** A client of 9P for tests: sends messages by name, byte by byte as the tables say. */
import { type Fields, Reader, Writer } from '../9p/codec.ts';
import { COMMON, ERROR_REPLY, HEADER_BYTES, LINUX, NO_FID, UNIX } from '../9p/messages.ts';
import type { Session } from '../9p/session.ts';

const MESSAGES = { ...COMMON, ...LINUX, ...UNIX };
type Messages = typeof MESSAGES;
type Values<F extends Fields> = import('../9p/codec.ts').ValuesOf<F>;

/** The server answered with an error. */
export class ServerError extends Error {
  readonly errno: number;
  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

export class Client {
  readonly session: Session;
  #nextFid = 1;

  constructor(session: Session, version: '9P2000.L' | '9P2000.u' = '9P2000.L', messageBytes = 65_536) {
    this.session = session;
    this.send('version', { messageBytes, version }, 0xffff);
  }

  /** Sends and expects the reply at once. @throws ServerError */
  send<Name extends keyof Messages>(
    name: Name,
    request: Values<Messages[Name]['request']>,
    tag = 1,
  ): Values<Messages[Name]['reply']> {
    const answer = this.session.answer(encodeMessage(MESSAGES[name].type, MESSAGES[name].request, request, tag));
    if (answer instanceof Promise) throw new Error(`${name} is not answered at once`);
    return decodeReply(name, joined(answer));
  }

  async sendAndWait<Name extends keyof Messages>(
    name: Name,
    request: Values<Messages[Name]['request']>,
    tag = 1,
  ): Promise<Values<Messages[Name]['reply']>> {
    const message = encodeMessage(MESSAGES[name].type, MESSAGES[name].request, request, tag);
    return decodeReply(name, joined(await this.session.answer(message)));
  }

  /** A new fid of the shared folder. */
  attach(uid = 0): number {
    const fid = this.#nextFid++;
    this.send('attach', { fid, authFid: NO_FID, userName: '', tree: '', uid });
    return fid;
  }

  /** A new fid. */
  walk(from: number, ...names: string[]): number {
    const newFid = this.#nextFid++;
    const { qids } = this.send('walk', { fid: from, newFid, names });
    if (qids.length < names.length) throw new ServerError(2);
    return newFid;
  }
}

export function encodeMessage<F extends Fields>(type: number, fields: F, values: Values<F>, tag = 1): Uint8Array {
  const writer = new Writer();
  writer.u32(0);
  writer.u8(type);
  writer.u16(tag);
  writer.fields(fields, values);
  writer.patch(0, writer.length);
  return writer.result();
}

function decodeReply<Name extends keyof Messages>(name: Name, answer: Uint8Array): Values<Messages[Name]['reply']> {
  const header = new Reader(answer);
  const [size, type] = [header.u32(), header.u8()];
  if (size !== answer.length) throw new Error(`a reply of ${answer.length} bytes says ${size}`);
  const body = new Reader(answer, HEADER_BYTES);
  for (const { type: errorType, fields } of Object.values(ERROR_REPLY)) {
    if (type === errorType) throw new ServerError(body.fields<{ errno: 'u32' }>(fields as { errno: 'u32' }).errno);
  }
  if (type !== MESSAGES[name].type + 1) throw new Error(`${name} is answered by message ${type}`);
  return body.fields(MESSAGES[name].reply) as Values<Messages[Name]['reply']>;
}

/** A message of its own. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

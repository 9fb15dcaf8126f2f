/** The client's side of fixed newstyle negotiation (NBD project, doc/proto.md, "Handshake phase"). */
import { UserError } from '../../base/index.ts';
import type { ByteReader, ByteStream } from '../../contract/index.ts';
import { joinBytes } from '../layout.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';
import type { ReplyMode } from './negotiation.ts';
import { byteReader, ConnectionLost } from './reader.ts';
import {
  clientFlags,
  cursorOf,
  EXPORT_ANSWER_PADDING,
  exportAnswer,
  HANDSHAKE_FLAG,
  INFO,
  infoBlockSize,
  infoExport,
  isOptionError,
  lengthAndText,
  MAGIC,
  number16,
  number32,
  OPTION,
  OPTION_BYTES_MAX,
  OPTION_REPLY,
  optionHeader,
  optionReply,
  PAYLOAD_BYTES_MAX,
  serverGreeting,
} from './wire.ts';

export interface NbdClientOptions {
  /** Empty: the server's default export. */
  readonly exportName?: string;
  /** Ask for TLS and go no further without it; the stream must have `startTls`. */
  readonly useTls?: boolean;
  /** The context that tells which ranges have data; without it, `base:allocation`. */
  readonly allocationContext?: string;
  /** Do not ask for what newer servers can do: for tests and for servers that mishandle it. */
  readonly atMost?: ReplyMode;
}

/** What a server says of an export. */
export interface ExportDescription {
  readonly name: string;
  readonly description?: string;
  readonly sizeBytes: number;
  /** A sum of `EXPORT_FLAG`. */
  readonly flags: number;
  readonly minBytes: number;
  readonly preferredBytes: number;
  readonly maxBytes: number;
  /** The server named its block sizes. */
  readonly hasBlockSizes: boolean;
}

/** A connection after the negotiation. */
export interface NegotiatedClient {
  readonly stream: ByteStream;
  readonly reader: ByteReader;
  readonly mode: ReplyMode;
  readonly facts: ExportDescription;
  /** The id of the context that was asked for. */
  readonly contextId: number | undefined;
}

const REPLIES_MAX = 100_000;

interface OptionReply {
  readonly type: number;
  readonly data: Uint8Array;
}

/** A connection that is still in the handshake. */
interface Handshake {
  readonly stream: ByteStream;
  readonly reader: ByteReader;
  readonly noZeroes: boolean;
}

function lost(what: string): never {
  throw new ConnectionLost(`NBD server: ${what}`);
}

async function takeSome(reader: ByteReader, count: number): Promise<Uint8Array> {
  return (await reader.take(count)) ?? lost('it closed the connection during the handshake');
}

async function sendOption({ stream }: Handshake, option: number, ...data: Uint8Array[]): Promise<void> {
  const payload = joinBytes(data);
  await stream.write([optionHeader.write({ magic: MAGIC.option, option, length: payload.length }), payload]);
}

/** All replies to an option, up to the acknowledgement or the first error. */
async function ask(handshake: Handshake, option: number, ...data: Uint8Array[]): Promise<OptionReply[]> {
  await sendOption(handshake, option, ...data);
  const replies: OptionReply[] = [];
  for (;;) {
    const head = optionReply.read(await takeSome(handshake.reader, optionReply.size));
    if (head.magic !== MAGIC.optionReply || head.option !== option) lost('it answered something that was not asked');
    if (head.length > OPTION_BYTES_MAX)
      lost(`an answer of ${head.length} bytes; at most ${OPTION_BYTES_MAX} are allowed`);
    const content = (await takeSome(handshake.reader, head.length)).slice();
    replies.push({ type: head.type, data: content });
    if (head.type === OPTION_REPLY.ack || isOptionError(head.type)) return replies;
    if (replies.length > REPLIES_MAX) lost(`more than ${REPLIES_MAX} answers to one option`);
  }
}

function errorOf(replies: readonly OptionReply[]): OptionReply | undefined {
  return replies.find(({ type }) => isOptionError(type));
}

const ERROR_TEXTS: ReadonlyMap<number, string> = new Map([
  [OPTION_REPLY.unsupported, 'it does not know the option'],
  [OPTION_REPLY.policy, 'it does not permit the option'],
  [OPTION_REPLY.invalid, 'it says that the request is invalid'],
  [OPTION_REPLY.tlsRequired, 'it requires TLS: give it with tls-creds'],
  [OPTION_REPLY.unknown, 'it has no such export'],
  [OPTION_REPLY.shutdown, 'it is shutting down'],
  [OPTION_REPLY.blockSizeRequired, 'it requires requests of a certain block size'],
]);

function refused(what: string, { type, data }: OptionReply): never {
  const said = decodeUtf8(data)
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 400);
  const why = ERROR_TEXTS.get(type) ?? `error ${type}`;
  throw new UserError(`NBD server: ${what}: ${why}${said === '' ? '' : ` (${said})`}`);
}

async function greet(stream: ByteStream, useTls: boolean): Promise<Handshake> {
  const reader = byteReader(stream);
  const greeting = serverGreeting.read(await takeSome(reader, serverGreeting.size));
  if (greeting.magic !== MAGIC.server) lost('the peer is no NBD server');
  if (greeting.option === MAGIC.oldStyle)
    throw new UserError('NBD server: it speaks the old protocol, without options');
  if (greeting.option !== MAGIC.option) lost('the peer is no NBD server');
  if ((greeting.flags & HANDSHAKE_FLAG.fixedNewstyle) === 0) {
    throw new UserError('NBD server: it does not speak the fixed newstyle protocol');
  }
  const noZeroes = (greeting.flags & HANDSHAKE_FLAG.noZeroes) !== 0;
  const flags = HANDSHAKE_FLAG.fixedNewstyle | (noZeroes ? HANDSHAKE_FLAG.noZeroes : 0);
  await stream.write([clientFlags.write({ flags })]);
  const handshake: Handshake = { stream, reader, noZeroes };
  if (!useTls) return handshake;
  const error = errorOf(await ask(handshake, OPTION.startTls));
  if (error !== undefined) refused('STARTTLS', error);
  if (stream.startTls === undefined) throw new UserError('TLS: there are no credentials for it');
  // What came unencrypted before the handshake would otherwise pass for encrypted (CVE-2021-3716).
  if (reader.buffered > 0) lost('it sent something between the acknowledgement of TLS and TLS');
  const secured = await stream.startTls();
  return { stream: secured, reader: byteReader(secured), noZeroes };
}

async function chooseMode(handshake: Handshake, atMost: ReplyMode): Promise<ReplyMode> {
  if (atMost === 'simple') return 'simple';
  if (atMost === 'extended' && errorOf(await ask(handshake, OPTION.extendedHeaders)) === undefined) return 'extended';
  return errorOf(await ask(handshake, OPTION.structuredReply)) === undefined ? 'structured' : 'simple';
}

async function setContext(handshake: Handshake, exportName: string, context: string): Promise<number | undefined> {
  const data = [...lengthAndText(exportName), number32(1), ...lengthAndText(context)];
  for (const reply of await ask(handshake, OPTION.setMetaContext, ...data)) {
    const cursor = cursorOf(reply.data);
    const id = reply.type === OPTION_REPLY.metaContext ? cursor.u32() : undefined;
    if (id !== undefined && decodeUtf8(cursor.rest()) === context) return id;
  }
  return undefined;
}

function namedExport(name: string, wants: readonly number[]): Uint8Array[] {
  return [...lengthAndText(name), number16(wants.length), ...wants.map(number16)];
}

/** Reads the answers to INFO and GO. */
function describe(name: string, replies: readonly OptionReply[]): ExportDescription {
  let facts: ExportDescription = {
    name,
    sizeBytes: -1,
    flags: 0,
    minBytes: 1,
    preferredBytes: 4096,
    maxBytes: PAYLOAD_BYTES_MAX,
    hasBlockSizes: false,
  };
  for (const { type, data } of replies) {
    if (type !== OPTION_REPLY.info || data.length < 2) continue;
    const kind = cursorOf(data).u16();
    if (kind === INFO.export && data.length === infoExport.size) {
      const { sizeBytes, flags } = infoExport.read(data);
      facts = { ...facts, sizeBytes, flags };
    } else if (kind === INFO.description) {
      facts = { ...facts, description: decodeUtf8(data.subarray(2)) };
    } else if (kind === INFO.blockSize && data.length === infoBlockSize.size) {
      const { type: _, ...sizes } = infoBlockSize.read(data);
      facts = { ...facts, ...sizes, hasBlockSizes: true };
    }
  }
  return facts;
}

function checked(facts: ExportDescription): ExportDescription {
  const { sizeBytes, minBytes, maxBytes } = facts;
  if (sizeBytes < 0 || sizeBytes > Number.MAX_SAFE_INTEGER) {
    throw new UserError(`NBD server: an export of ${sizeBytes} bytes cannot be used`);
  }
  if (!Number.isInteger(Math.log2(minBytes)) || minBytes > 65536 || maxBytes < minBytes) {
    throw new UserError(`NBD server: block sizes from ${minBytes} to ${maxBytes} cannot be used`);
  }
  return facts;
}

/** Agrees with a server on an export. @throws UserError when it refuses, ConnectionLost when it is none */
export async function negotiateClient(stream: ByteStream, options: NbdClientOptions = {}): Promise<NegotiatedClient> {
  const { exportName = '', useTls = false, allocationContext = 'base:allocation', atMost = 'extended' } = options;
  const handshake = await greet(stream, useTls);
  const mode = await chooseMode(handshake, atMost);
  const contextId = mode === 'simple' ? undefined : await setContext(handshake, exportName, allocationContext);
  const replies = await ask(handshake, OPTION.go, ...namedExport(exportName, [INFO.blockSize]));
  const error = errorOf(replies);
  const common = { stream: handshake.stream, reader: handshake.reader, mode, contextId };
  if (error === undefined) return { ...common, facts: checked(describe(exportName, replies)) };
  if (error.type !== OPTION_REPLY.unsupported) refused(`export '${exportName}'`, error);
  return { ...common, facts: await chooseByName(handshake, exportName) };
}

/** EXPORT_NAME, for servers that do not know GO. */
async function chooseByName(handshake: Handshake, name: string): Promise<ExportDescription> {
  await sendOption(handshake, OPTION.exportName, encodeUtf8(name));
  const bytes = await handshake.reader.take(exportAnswer.size);
  if (bytes === undefined) throw new UserError(`NBD server: export '${name}': it closed the connection`);
  const facts = exportAnswer.read(bytes);
  if (!handshake.noZeroes) await handshake.reader.skip(EXPORT_ANSWER_PADDING);
  return checked({ ...describe(name, []), ...facts });
}

export interface ListedExport {
  readonly name: string;
  readonly description?: string;
  /** Absent where the server does not tell. */
  readonly facts?: ExportDescription;
  readonly contexts: readonly string[];
}

/** All that a server tells of its exports; ends the connection. @throws UserError when it refuses */
export async function listNbdExports(stream: ByteStream, options: { useTls?: boolean } = {}): Promise<ListedExport[]> {
  const handshake = await greet(stream, options.useTls ?? false);
  const mode = await chooseMode(handshake, 'structured');
  const replies = await ask(handshake, OPTION.list);
  const error = errorOf(replies);
  if (error !== undefined) refused('LIST', error);
  const listed: ListedExport[] = [];
  for (const { type, data } of replies) {
    if (type !== OPTION_REPLY.server) continue;
    const cursor = cursorOf(data);
    const name = cursor.text() ?? lost('a malformed name of an export');
    const said = decodeUtf8(cursor.rest());
    const info = await ask(handshake, OPTION.info, ...namedExport(name, [INFO.description, INFO.blockSize]));
    const facts = errorOf(info) === undefined ? checked(describe(name, info)) : undefined;
    const contexts = mode === 'simple' ? [] : await listContexts(handshake, name);
    const description = said === '' ? facts?.description : said;
    listed.push({
      name,
      ...(description === undefined ? {} : { description }),
      ...(facts === undefined ? {} : { facts }),
      contexts,
    });
  }
  await sendOption(handshake, OPTION.abort);
  handshake.stream.end();
  return listed;
}

async function listContexts(handshake: Handshake, name: string): Promise<string[]> {
  const replies = await ask(handshake, OPTION.listMetaContext, ...lengthAndText(name), number32(0));
  return replies
    .filter(({ type }) => type === OPTION_REPLY.metaContext)
    .map(({ data }) => decodeUtf8(data.subarray(4)));
}

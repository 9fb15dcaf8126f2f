/**
 * The server's side of fixed newstyle negotiation as a pure state table: bytes
 * in, bytes and a decision out (NBD project, doc/proto.md, "Handshake phase").
 */
import { joinBytes } from '../layout.ts';
import { encodeUtf8 } from '../text.ts';
import {
  BASE_ALLOCATION,
  clientFlags,
  cursorOf,
  EXPORT_ANSWER_PADDING,
  EXPORT_FLAG,
  exportAnswer,
  HANDSHAKE_FLAG,
  INFO,
  infoBlockSize,
  infoExport,
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

/** What the negotiation tells of an export. */
export interface ExportFacts {
  readonly name: string;
  readonly description?: string;
  readonly sizeBytes: number;
  /** A sum of `EXPORT_FLAG`; `df` is added where it applies. */
  readonly flags: number;
  readonly minBytes: number;
  readonly preferredBytes: number;
  /** Names of contexts that block status can tell of. */
  readonly contexts: readonly string[];
}

export interface NegotiationConfig {
  readonly exports: readonly ExportFacts[];
  /** `required`: nothing but STARTTLS is answered before it. */
  readonly tls: 'none' | 'offered' | 'required';
  /** This negotiation follows STARTTLS. */
  readonly isSecure: boolean;
}

export type ReplyMode = 'simple' | 'structured' | 'extended';

/** What the two sides agreed on. */
export interface Agreement {
  /** Index in the configuration's exports. */
  readonly exportIndex: number;
  readonly mode: ReplyMode;
  /** Names of the contexts that were chosen; a context's id is its index here plus 1. */
  readonly contexts: readonly string[];
}

export interface NegotiationStep {
  readonly send: readonly Uint8Array[];
  readonly next: 'more' | 'start-tls' | 'transmit' | 'close';
  /** With `transmit`. */
  readonly agreement?: Agreement;
}

export interface Negotiation {
  /** What the server says first. */
  readonly greeting: Uint8Array;
  /** How many bytes `feed` takes next. */
  readonly needs: number;
  feed(bytes: Uint8Array): NegotiationStep;
}

const OPTIONS_MAX = 10_000;
const SKIP_MAX_BYTES = 32 * 2 ** 20;
const CONTEXT_QUERIES_MAX = 1024;
const CLOSE: NegotiationStep = { send: [], next: 'close' };

type State =
  | { readonly kind: 'flags' }
  | { readonly kind: 'header' }
  | { readonly kind: 'data'; readonly option: number; readonly length: number }
  | { readonly kind: 'skip'; readonly option: number; readonly left: number };

export function negotiation(config: NegotiationConfig): Negotiation {
  const session: Session = { config, mode: 'simple', noZeroes: false, contexts: [], contextExport: undefined };
  let state: State = config.isSecure ? { kind: 'header' } : { kind: 'flags' };
  let options = 0;

  const header = (bytes: Uint8Array): NegotiationStep => {
    const { magic, option, length } = optionHeader.read(bytes);
    options += 1;
    if (magic !== MAGIC.option || options > OPTIONS_MAX || length > SKIP_MAX_BYTES) return CLOSE;
    if (length > OPTION_BYTES_MAX) {
      state = { kind: 'skip', option, left: length };
      return { send: [], next: 'more' };
    }
    if (length === 0) return answer(session, option, new Uint8Array(0));
    state = { kind: 'data', option, length };
    return { send: [], next: 'more' };
  };
  const skip = (option: number, left: number): NegotiationStep => {
    state = left > 0 ? { kind: 'skip', option, left } : { kind: 'header' };
    if (left > 0) return { send: [], next: 'more' };
    return reply([refuse(option, 'tooBig', `an option has at most ${OPTION_BYTES_MAX} bytes`)]);
  };
  return {
    greeting: serverGreeting.write({
      magic: MAGIC.server,
      option: MAGIC.option,
      flags: HANDSHAKE_FLAG.fixedNewstyle | HANDSHAKE_FLAG.noZeroes,
    }),
    get needs() {
      if (state.kind === 'flags') return clientFlags.size;
      if (state.kind === 'header') return optionHeader.size;
      return state.kind === 'data' ? state.length : Math.min(state.left, OPTION_BYTES_MAX);
    },
    feed(bytes) {
      const current = state;
      switch (current.kind) {
        case 'flags': {
          const { flags } = clientFlags.read(bytes);
          state = { kind: 'header' };
          if ((flags & HANDSHAKE_FLAG.fixedNewstyle) === 0 || flags > 3) return CLOSE;
          session.noZeroes = (flags & HANDSHAKE_FLAG.noZeroes) !== 0;
          return { send: [], next: 'more' };
        }
        case 'header':
          return header(bytes);
        case 'data':
          state = { kind: 'header' };
          return answer(session, current.option, bytes);
        case 'skip':
          return skip(current.option, current.left - bytes.length);
      }
    },
  };
}

interface Session {
  readonly config: NegotiationConfig;
  mode: ReplyMode;
  noZeroes: boolean;
  contexts: readonly string[];
  /** The export for which the contexts were chosen. */
  contextExport: number | undefined;
}

type ErrorName = Exclude<keyof typeof OPTION_REPLY, 'ack' | 'server' | 'info' | 'metaContext'>;

function message(option: number, type: number, ...data: readonly Uint8Array[]): Uint8Array {
  const length = data.reduce((sum, part) => sum + part.length, 0);
  return joinBytes([optionReply.write({ magic: MAGIC.optionReply, option, type, length }), ...data]);
}

function refuse(option: number, why: ErrorName, text: string): Uint8Array {
  return message(option, OPTION_REPLY[why], encodeUtf8(text));
}

function reply(send: readonly Uint8Array[]): NegotiationStep {
  return { send, next: 'more' };
}

type Handler = (session: Session, option: number, data: Uint8Array) => NegotiationStep;

const HANDLERS: Readonly<Record<number, Handler>> = {
  [OPTION.exportName]: chooseByName,
  [OPTION.abort]: (_, option) => ({ send: [message(option, OPTION_REPLY.ack)], next: 'close' }),
  [OPTION.list]: withoutData(list),
  [OPTION.startTls]: withoutData(startTls),
  [OPTION.info]: describeExport,
  [OPTION.go]: describeExport,
  [OPTION.structuredReply]: withoutData(useStructuredReplies),
  [OPTION.extendedHeaders]: withoutData(useExtendedHeaders),
  [OPTION.listMetaContext]: metaContexts,
  [OPTION.setMetaContext]: metaContexts,
};

function answer(session: Session, option: number, data: Uint8Array): NegotiationStep {
  const { tls, isSecure } = session.config;
  if (tls === 'required' && !isSecure && option !== OPTION.startTls && option !== OPTION.abort) {
    if (option === OPTION.exportName) return CLOSE;
    return reply([refuse(option, 'tlsRequired', 'this server wants TLS first: ask for STARTTLS')]);
  }
  const handler = HANDLERS[option];
  if (handler !== undefined) return handler(session, option, data);
  return reply([refuse(option, 'unsupported', `option ${option} is not known`)]);
}

function withoutData(handler: (session: Session, option: number) => NegotiationStep): Handler {
  return (session, option, data) =>
    data.length === 0 ? handler(session, option) : reply([refuse(option, 'invalid', 'this option has no data')]);
}

function flagsOf(session: Session, { flags }: ExportFacts): number {
  return session.mode === 'simple' ? flags : flags | EXPORT_FLAG.df;
}

function indexOf({ config }: Session, name: string): number | undefined {
  const index = config.exports.findIndex((one) => one.name === name);
  return index < 0 ? undefined : index;
}

function transmit(session: Session, exportIndex: number, send: readonly Uint8Array[]): NegotiationStep {
  const { mode } = session;
  const contexts = session.contextExport === exportIndex ? session.contexts : [];
  return { send, next: 'transmit', agreement: { exportIndex, mode, contexts } };
}

/** EXPORT_NAME has no way to say no. */
function chooseByName(session: Session, _option: number, data: Uint8Array): NegotiationStep {
  const name = cursorOf(joinBytes([number32(data.length), data])).text();
  const index = name === undefined ? undefined : indexOf(session, name);
  if (index === undefined || session.mode === 'extended') return CLOSE;
  const facts = session.config.exports[index];
  const fixed = exportAnswer.write({ sizeBytes: facts.sizeBytes, flags: flagsOf(session, facts) });
  const padding = new Uint8Array(session.noZeroes ? 0 : EXPORT_ANSWER_PADDING);
  return transmit(session, index, [fixed, padding]);
}

function list({ config }: Session, option: number): NegotiationStep {
  const rows = config.exports.map(({ name, description }) =>
    message(option, OPTION_REPLY.server, ...lengthAndText(name), encodeUtf8(description ?? '')),
  );
  return reply([...rows, message(option, OPTION_REPLY.ack)]);
}

function startTls({ config }: Session, option: number): NegotiationStep {
  if (config.isSecure) return reply([refuse(option, 'invalid', 'TLS is in use already')]);
  if (config.tls === 'none') return reply([refuse(option, 'policy', 'this server has no TLS')]);
  return { send: [message(option, OPTION_REPLY.ack)], next: 'start-tls' };
}

function useStructuredReplies(session: Session, option: number): NegotiationStep {
  if (session.mode !== 'simple') return reply([refuse(option, 'invalid', 'structured replies are in use already')]);
  session.mode = 'structured';
  return reply([message(option, OPTION_REPLY.ack)]);
}

function useExtendedHeaders(session: Session, option: number): NegotiationStep {
  if (session.mode === 'extended') return reply([refuse(option, 'invalid', 'extended headers are in use already')]);
  session.mode = 'extended';
  return reply([message(option, OPTION_REPLY.ack)]);
}

function describeExport(session: Session, option: number, data: Uint8Array): NegotiationStep {
  const cursor = cursorOf(data);
  const name = cursor.text();
  const count = cursor.u16();
  const asked = Array.from({ length: Math.min(count ?? 0, 0xffff) }, () => cursor.u16());
  if (name === undefined || count === undefined || asked.includes(undefined) || cursor.rest().length > 0) {
    return reply([refuse(option, 'invalid', 'malformed: expecting a name and a list of information wanted')]);
  }
  const index = indexOf(session, name);
  if (index === undefined) return reply([refuse(option, 'unknown', `there is no export '${name}'`)]);
  const facts = session.config.exports[index];
  const { minBytes, preferredBytes } = facts;
  const info = (...parts: readonly Uint8Array[]) => message(option, OPTION_REPLY.info, ...parts);
  const blockSize = info(
    infoBlockSize.write({ type: INFO.blockSize, minBytes, preferredBytes, maxBytes: PAYLOAD_BYTES_MAX }),
  );
  if (minBytes > 1 && option === OPTION.go && !asked.includes(INFO.blockSize)) {
    return reply([refuse(option, 'blockSizeRequired', `requests must be multiples of ${minBytes} bytes`)]);
  }
  const send = [
    ...(asked.includes(INFO.name) ? [info(number16(INFO.name), encodeUtf8(name))] : []),
    ...(facts.description ? [info(number16(INFO.description), encodeUtf8(facts.description))] : []),
    blockSize,
    info(infoExport.write({ type: INFO.export, sizeBytes: facts.sizeBytes, flags: flagsOf(session, facts) })),
    message(option, OPTION_REPLY.ack),
  ];
  return option === OPTION.go ? transmit(session, index, send) : reply(send);
}

function metaContexts(session: Session, option: number, data: Uint8Array): NegotiationStep {
  const cursor = cursorOf(data);
  const name = cursor.text();
  const count = cursor.u32();
  const isSet = option === OPTION.setMetaContext;
  if (isSet) session.contexts = [];
  if (count !== undefined && count > CONTEXT_QUERIES_MAX) {
    return reply([refuse(option, 'tooBig', `at most ${CONTEXT_QUERIES_MAX} contexts can be asked for`)]);
  }
  const queries = Array.from({ length: count ?? 0 }, () => cursor.text());
  if (name === undefined || count === undefined || queries.includes(undefined) || cursor.rest().length > 0) {
    return reply([refuse(option, 'invalid', 'malformed: expecting a name and a list of contexts')]);
  }
  if (session.mode === 'simple')
    return reply([refuse(option, 'invalid', 'structured replies must be agreed on first')]);
  const index = indexOf(session, name);
  if (index === undefined) return reply([refuse(option, 'unknown', `there is no export '${name}'`)]);
  const offered = session.config.exports[index].contexts;
  const found = offered.filter((context) =>
    isSet ? queries.includes(context) : queries.length === 0 || queries.some((query) => listsContext(query!, context)),
  );
  if (isSet) {
    session.contexts = found;
    session.contextExport = index;
  }
  const rows = found.map((context, i) =>
    message(option, OPTION_REPLY.metaContext, number32(isSet ? i + 1 : 0), encodeUtf8(context)),
  );
  return reply([...rows, message(option, OPTION_REPLY.ack)]);
}

/** A query lists a context by its name, its namespace `NAMESPACE:`, or one of QEMU's kinds `qemu:KIND:`. */
function listsContext(query: string, context: string): boolean {
  return query === context || (query.endsWith(':') && context.startsWith(query) && context !== query);
}

/** The contexts of an export that has further ones beside what every export has. */
export function contextNames(further: readonly string[]): readonly string[] {
  return [BASE_ALLOCATION, ...further];
}

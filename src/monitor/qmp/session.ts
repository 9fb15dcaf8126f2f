/** One QMP connection: the handshake, commands in order, their replies, and events. */
import { UserError } from '../../base/index.ts';
import { JsonDecoder } from '../json/decoder.ts';
import { encodeJson } from '../json/encode.ts';
import type { Command, Commands } from '../schema/types.ts';
import { ArgumentError, checkValue } from '../schema/validate.ts';
import { QmpError } from './errors.ts';

/** Where a session's text goes. */
export interface QmpOutput {
  write(text: string): void;
  /** Text that was written and is not gone, in bytes. */
  readonly waitingBytes: number;
  /** Stops and starts input. */
  pause(): void;
  resume(): void;
}

export interface QmpOptions {
  readonly commands: Commands;
  readonly pretty?: boolean;
  /** The greeting's version member. */
  readonly version: unknown;
  /** Runs a command whose arguments are checked. */
  run(name: string, args: Readonly<Record<string, unknown>>, session: QmpSession): unknown;
  /** Runs `work` after what other sessions began. */
  inTurn<T>(work: () => Promise<T>): Promise<T>;
  /** For what is our own mistake. */
  onInternalError(error: unknown): void;
}

interface Request {
  readonly id?: unknown;
  readonly hasId: boolean;
  readonly name: string;
  readonly args: unknown;
  /** What was wrong with the object itself. */
  readonly fault?: QmpError;
}

/** Commands that may wait in a session; input stops meanwhile. */
const QUEUE_MAX = 8;
/** A client that does not read its replies gets no more until it has. */
const OUTPUT_MAX_BYTES = 1024 * 1024;

export class QmpSession {
  readonly #options: QmpOptions;
  readonly #output: QmpOutput;
  #decoder = new JsonDecoder();
  #queue: Request[] = [];
  #isNegotiated = false;
  #isRunning = false;
  #hasOutOfBand = false;
  #isClosed = false;

  constructor(output: QmpOutput, options: QmpOptions) {
    this.#output = output;
    this.#options = options;
  }

  /** Somebody connected. */
  open(): void {
    this.#decoder = new JsonDecoder();
    this.#queue = [];
    this.#isNegotiated = this.#hasOutOfBand = this.#isClosed = false;
    this.#send({ QMP: { version: this.#options.version, capabilities: ['oob'] } });
  }

  close(): void {
    this.#isClosed = true;
    this.#queue = [];
  }

  get isNegotiated(): boolean {
    return this.#isNegotiated && !this.#isClosed;
  }

  get hasOutOfBand(): boolean {
    return this.#hasOutOfBand;
  }

  /** The client has said hello; `enable` are the capabilities that it wants. */
  negotiate(enable: readonly string[]): void {
    if (this.#isNegotiated) {
      throw new QmpError('Capabilities negotiation is already complete, command ignored', 'CommandNotFound');
    }
    this.#isNegotiated = true;
    this.#hasOutOfBand = enable.includes('oob');
  }

  /** Events are for those who said hello and read what they are sent. */
  sendEvent(message: unknown): void {
    if (this.isNegotiated && this.#output.waitingBytes < OUTPUT_MAX_BYTES) this.#send(message);
  }

  receive(bytes: Uint8Array): void {
    for (const decoded of this.#decoder.feed(bytes)) {
      if ('error' in decoded) this.#enqueue(faulty(decoded.error));
      else this.#enqueue(requestOf(decoded.value), isOutOfBand(decoded.value) && this.#hasOutOfBand);
    }
    if (this.#queue.length >= QUEUE_MAX) this.#output.pause();
    void this.#work();
  }

  /** The output has room again. */
  drained(): void {
    void this.#work();
  }

  #enqueue(request: Request, outOfBand = false): void {
    if (outOfBand) void this.#execute(request, true);
    else this.#queue.push(request);
  }

  async #work(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      while (this.#queue.length > 0 && this.#output.waitingBytes < OUTPUT_MAX_BYTES) {
        const request = this.#queue.shift()!;
        await this.#options.inTurn(() => this.#execute(request, false));
        if (this.#queue.length === QUEUE_MAX - 1) this.#output.resume();
      }
    } finally {
      this.#isRunning = false;
      if (this.#queue.length < QUEUE_MAX) this.#output.resume();
    }
  }

  async #execute(request: Request, outOfBand: boolean): Promise<void> {
    if (this.#isClosed) return;
    try {
      if (request.fault !== undefined) throw request.fault;
      const command = this.#find(request.name, outOfBand);
      const args = request.args ?? {};
      checkValue(command.args, args);
      const result = await this.#options.run(request.name, args as Readonly<Record<string, unknown>>, this);
      this.#reply(request, { return: result ?? {} });
    } catch (error) {
      this.#refuse(request, error);
    }
  }

  #find(name: string, outOfBand: boolean): Command {
    if (!this.#isNegotiated && name !== 'qmp_capabilities') {
      throw new QmpError("Expecting capabilities negotiation with 'qmp_capabilities'", 'CommandNotFound');
    }
    const { commands } = this.#options;
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (command === undefined) {
      throw new QmpError(`The command ${name.slice(0, 200)} has not been found`, 'CommandNotFound');
    }
    if (outOfBand && !command.outOfBand) throw new QmpError(`The command ${name} does not support OOB`);
    return command;
  }

  #refuse(request: Pick<Request, 'id' | 'hasId'>, error: unknown): void {
    const isExpected = error instanceof UserError || error instanceof ArgumentError;
    if (!isExpected) this.#options.onInternalError(error);
    const errorClass = error instanceof QmpError ? error.errorClass : 'GenericError';
    const desc = error instanceof Error ? error.message : String(error);
    this.#reply(request, { error: { class: errorClass, desc } });
  }

  #reply({ id, hasId }: Pick<Request, 'id' | 'hasId'>, message: Readonly<Record<string, unknown>>): void {
    if (!this.#isClosed) this.#send(hasId ? { ...message, id } : message);
  }

  #send(message: unknown): void {
    this.#output.write(`${encodeJson(message, this.#options.pretty)}\r\n`);
  }
}

function isOutOfBand(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'exec-oob' in value;
}

function faulty(message: string, base: Pick<Request, 'id' | 'hasId'> = { hasId: false }): Request {
  return { ...base, name: '', args: {}, fault: new QmpError(message) };
}

/** The parts of a command object, or what is wrong with it. */
function requestOf(value: unknown): Request {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return faulty('QMP input must be a JSON object');
  }
  const base = { id: (value as { id?: unknown }).id, hasId: Object.hasOwn(value, 'id') };
  let name: string | undefined;
  let args: unknown;
  for (const [key, member] of Object.entries(value)) {
    if (key === 'execute' || key === 'exec-oob') {
      if (typeof member !== 'string') return faulty(`QMP input member '${key}' must be a string`, base);
      if (name !== undefined) return faulty("QMP input member 'exec-oob' clashes with 'execute'", base);
      name = member;
    } else if (key === 'arguments') {
      if (typeof member !== 'object' || member === null || Array.isArray(member)) {
        return faulty("QMP input member 'arguments' must be an object", base);
      }
      args = member;
    } else if (key !== 'id') {
      return faulty(`QMP input member '${key.slice(0, 100)}' is unexpected`, base);
    }
  }
  return name === undefined ? faulty("QMP input lacks member 'execute'", base) : { ...base, name, args };
}

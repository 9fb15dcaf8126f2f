/** An emulator whose machine only notes what is asked of it, and a QMP client in the same thread. */
import { UserError } from '../../base/index.ts';
import { BlockGraph, GraphError, type TellEvent } from '../../block/index.ts';
import { memoryHost } from '../../block/testing/memory-drivers.ts';
import type { Machine, MachineCommandName, MachineEvent, MachineExit, RunState } from '../../machine/index.ts';
import { X86_CPU } from '../../target/index.ts';
import { runCommand } from '../commands/index.ts';
import { blockOptions, diskOptions, diskPath } from '../emulator/disk-options.ts';
import { Emulator, type EmulatorHost } from '../emulator/emulator.ts';
import { JsonDecoder } from '../json/decoder.ts';
import { buildConfig } from '../options/build.ts';
import { parseCommandLine } from '../options/command-line.ts';
import type { SystemConfig } from '../options/config.ts';
import { schema } from '../qapi/index.ts';
import { QmpSession } from '../qmp/session.ts';

export const ABILITIES = { accelerators: ['tcg'], cpusMax: 255 };

export function configOf(words: readonly string[]) {
  return buildConfig(
    parseCommandLine(words, () => ''),
    ABILITIES,
  );
}

const COUNTER = { operations: 2, bytes: 1024, failed: 0, nanos: 5 };
const BLANK = { read: COUNTER, write: COUNTER, flush: COUNTER, discard: COUNTER, highestOffset: 4096 };

function lazily<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

const SPARE_FILES = ['/tmp/other.qcow2', '/tmp/disc.iso'];

async function fakeBlock(config: SystemConfig, tell: TellEvent) {
  const host = memoryHost();
  const { nodes } = blockOptions(config);
  const named = nodes.flatMap((node) =>
    node.filter(([key]) => /filename|image-name/.test(key)).map(([, name]) => name),
  );
  for (const name of [...named, ...SPARE_FILES]) await host.make(name, 'qcow2', 65536);
  const graph = new BlockGraph(host.drivers, tell);
  for (const node of nodes) await graph.add(new Map(node));
  for (const disk of config.disks) {
    const { name, drive, device } = diskOptions(config, disk).node!;
    graph.attach({ drive, device, node: name, isRemovable: disk.media === 'cdrom' });
  }
  return {
    async execute(name: string, args: unknown) {
      try {
        return { result: await graph.execute(name, args) };
      } catch (error) {
        if (!(error instanceof GraphError)) throw error;
        return { failure: error.message, errorClass: error.errorClass };
      }
    },
  };
}

export interface FakeMachine extends Machine {
  readonly asked: string[];
  happen(event: MachineEvent): void;
}

/** Its disks stand on files in memory: an empty image for every name that the command line has. */
export function fakeMachine(config: SystemConfig): FakeMachine {
  const block = lazily(() => fakeBlock(config, (name, data) => happen({ kind: 'block', name, data })));
  let listener: (event: MachineEvent) => void = () => {};
  let state: RunState = 'prelaunch';
  const exit = Promise.withResolvers<MachineExit>();
  const asked: string[] = [];
  const happen = (event: MachineEvent) => {
    if (event.kind === 'state') state = event.state;
    listener(event);
  };
  const stop = async () => exit.resolve({ reason: 'stopped', message: 'the machine was stopped' });
  const answers: Partial<Record<MachineCommandName, unknown>> = {
    disks: config.disks.map((disk) => ({
      device: diskPath(config, disk),
      sizeBytes: 65536,
      readOnly: false,
      counters: BLANK,
    })),
    balloon: { actualBytes: 64 * 1024 * 1024, reportedBytes: 0, statistics: { freeMemory: 4096 } },
    'read-memory': new Uint8Array(4096),
    'describe-cpu': 'RIP=0',
    'read-cpu': X86_CPU.initial(),
  };
  return {
    serial: undefined as never,
    consolePorts: [],
    config: undefined as never,
    memory: { buffer: new SharedArrayBuffer(4096), ranges: [{ base: 0, size: 4096, offset: 0 }] },
    notes: {},
    accelerator: {},
    asked,
    happen,
    start: async () => happen({ kind: 'state', state: 'running' }),
    get state() {
      return state;
    },
    async command(name: MachineCommandName, ...argument: readonly unknown[]) {
      asked.push(name);
      if (name === 'pause') happen({ kind: 'state', state: 'paused' });
      if (name === 'resume') happen({ kind: 'state', state: 'running' });
      if (name === 'reset') happen({ kind: 'reset', byGuest: false });
      if (name === 'press-power-button') happen({ kind: 'power-button' });
      if (name === 'block') {
        const { name: command, args } = argument[0] as { name: string; args: unknown };
        return (await block()).execute(command, args) as never;
      }
      return answers[name] as never;
    },
    onEvent(given) {
      listener = given;
    },
    stop,
    exited: exit.promise,
    [Symbol.asyncDispose]: stop,
  };
}

/** Timers that end only when `pass` says so. */
export class FakeTime {
  #now = 1_000_000_000_000;
  #timers: { at: number; action: () => void }[] = [];

  nowMillis = () => this.#now;

  after = (millis: number, action: () => void) => {
    const timer = { at: this.#now + millis, action };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  };

  pass(millis: number): void {
    this.#now += millis;
    const due = this.#timers.filter(({ at }) => at <= this.#now);
    this.#timers = this.#timers.filter(({ at }) => at > this.#now);
    for (const { action } of due) action();
  }
}

export function fakeHost(time = new FakeTime()): EmulatorHost & { readonly written: Map<string, number> } {
  const written = new Map<string, number>();
  return {
    nowMillis: time.nowMillis,
    after: time.after,
    processId: 4711,
    hasKvm: false,
    programName: 'Vireo test',
    openCharBackend: async (spec) => {
      throw new Error(`no backend ${spec.kind} in this test`);
    },
    openBlock: async () => {
      throw new Error('there is a machine in this test');
    },
    log(message) {
      throw new Error(message);
    },
    migration: {
      connect: async ({ kind }) => {
        throw new UserError(`no ${kind} in this test`);
      },
      listen: async ({ kind }) => {
        throw new UserError(`no ${kind} in this test`);
      },
    },
    written,
    async writeFile(path, pieces) {
      let size = 0;
      for await (const bytes of pieces) size += bytes.length;
      written.set(path, size);
    },
  };
}

export interface Rig {
  readonly emulator: Emulator;
  readonly machine: FakeMachine;
  readonly time: FakeTime;
  client(): Client;
}

/** An emulator from a command line, its ring buffers open. */
export async function rigOf(words: readonly string[], runs = true): Promise<Rig> {
  const config = configOf(words);
  const time = new FakeTime();
  const machine = fakeMachine(config);
  const emulator = new Emulator(config, fakeHost(time), machine, 'tcg');
  for (const chardev of config.chardevs) {
    if (chardev.backend.kind === 'ringbuf' || chardev.backend.kind === 'null') await emulator.addChardev(chardev);
  }
  if (runs) await emulator.cont();
  return { emulator, machine, time, client: () => new Client(emulator) };
}

/** What a client receives, and what it sends. */
export class Client {
  readonly messages: Record<string, unknown>[] = [];
  readonly session: QmpSession;
  readonly #decoder = new JsonDecoder();
  #waiting: (() => void) | undefined;
  /** What the session sees as not yet read. */
  waitingBytes = 0;
  isPaused = false;

  constructor(emulator: Emulator) {
    const client = this;
    this.session = new QmpSession(
      {
        write: (text) => this.#take(new TextEncoder().encode(text)),
        get waitingBytes() {
          return client.waitingBytes;
        },
        pause() {
          client.isPaused = true;
        },
        resume() {
          client.isPaused = false;
        },
      },
      {
        commands: schema.commands,
        version: {},
        run: (name, args, own) => runCommand(emulator, name, args, own),
        inTurn: (work) => emulator.inTurn(work),
        onInternalError: (error) => emulator.reportBug(error),
      },
    );
    emulator.sessions.add(this.session);
    this.session.open();
  }

  send(text: string): void {
    this.session.receive(new TextEncoder().encode(text));
  }

  /** Sends a command and resolves to the reply with its id. */
  async call(execute: string, args?: unknown): Promise<Record<string, unknown>> {
    const id = `call ${this.messages.length}`;
    this.send(JSON.stringify({ execute, id, ...(args === undefined ? {} : { arguments: args }) }));
    for (;;) {
      const reply = this.messages.find((message) => message.id === id);
      if (reply !== undefined) return reply;
      await new Promise<void>((resolve) => (this.#waiting = resolve));
    }
  }

  /** Resolves when there are `count` messages. */
  async until(count: number): Promise<void> {
    while (this.messages.length < count) await new Promise<void>((resolve) => (this.#waiting = resolve));
  }

  get events(): string[] {
    return this.messages.flatMap(({ event }) => (typeof event === 'string' ? [event] : []));
  }

  #take(bytes: Uint8Array): void {
    for (const decoded of this.#decoder.feed(bytes)) {
      if ('error' in decoded) throw new Error(decoded.error);
      this.messages.push(decoded.value as Record<string, unknown>);
    }
    this.#waiting?.();
  }
}

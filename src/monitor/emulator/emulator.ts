/** What a running emulator consists of, as its monitors see it. */
import { UserError } from '../../base/index.ts';
import type { CharBackend, OpenCharBackend } from '../../contract/index.ts';
import type { BlockAnswer, BlockService, BlockServiceOptions, Machine, RunState } from '../../machine/index.ts';
import { Chardev } from '../chardev/chardev.ts';
import { nullBackend, ringBackend } from '../chardev/memory.ts';
import type { MigrationHost } from '../migration/address.ts';
import { Migration } from '../migration/migration.ts';
import type { ChardevConfig, ObjectConfig, SystemConfig } from '../options/config.ts';
import { type EventData, type EventName, events } from '../qapi/index.ts';
import { QmpError } from '../qmp/errors.ts';
import { type EventClock, EventQueue } from '../qmp/events.ts';
import type { QmpSession } from '../qmp/session.ts';
import { BalloonPolling } from './balloon-polling.ts';
import { blockOptions } from './disk-options.ts';

/** What the host offers an emulator, beside its machine. */
export interface EmulatorHost extends EventClock {
  readonly processId: number;
  /** The host's CPU could run guests. */
  readonly hasKvm: boolean;
  openCharBackend: OpenCharBackend;
  /** Block nodes where there is no machine that they could live in. */
  openBlock(
    options: BlockServiceOptions,
    tell: (name: string, data: Readonly<Record<string, unknown>>) => void,
  ): Promise<BlockService>;
  /** For the log: what went wrong and is no one's command. */
  log(message: string): void;
  /** Writes a new file, as pieces come. */
  writeFile(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void>;
  /** Where machines go to and come from. */
  readonly migration: MigrationHost;
  /** What the program is called, e.g. `Vireo 0.1.0`. */
  readonly programName: string;
}

/** Why an emulator ended. */
export interface EmulatorEnd {
  readonly exitCode: number;
  /** For people, when something went wrong. */
  readonly message?: string;
}

/** Events that name who did it. */
type ShutdownReason = EventData<'SHUTDOWN'>['reason'];

const PANIC_EVENT_ACTIONS = { pause: 'pause', end: 'poweroff', fail: 'poweroff', none: 'run' } as const;
const WATCHDOG_EVENT_ACTIONS = {
  reset: 'reset',
  shutdown: 'shutdown',
  'power-off': 'poweroff',
  pause: 'pause',
  debug: 'debug',
  none: 'none',
  nmi: 'inject-nmi',
} as const;

export class Emulator {
  /** As the machine is now: devices come and go. */
  config: SystemConfig;
  /** Devices that the guest was asked to let go. */
  readonly unplugging = new Set<string>();
  readonly host: EmulatorHost;
  /** Undefined with -machine none. */
  readonly machine: Machine | undefined;
  /** Who executes guest code. */
  readonly accelerator: string;
  readonly chardevs = new Map<string, Chardev>();
  readonly objects = new Map<string, ObjectConfig>();
  /** Names of network cards whose cable is unplugged. */
  readonly linksDown = new Set<string>();
  readonly migration: Migration = new Migration(this);
  /** How the last memory dump went. */
  lastDump: { status: 'none' | 'completed' | 'failed'; completed: number; total: number } = {
    ...{ status: 'none', completed: 0, total: 0 },
  };
  fdsets: SystemConfig['fdsets'];
  readonly sessions = new Set<QmpSession>();
  readonly balloonPolling: BalloonPolling;
  readonly #events: EventQueue;
  readonly #ended = Promise.withResolvers<EmulatorEnd>();
  #started = false;
  readonly #isIncoming: boolean;
  /** Of -machine none. */
  #ownBlock: Promise<BlockService> | undefined;
  readonly #standstill: (() => void)[] = [];
  #turn: Promise<unknown> = Promise.resolve();

  constructor(config: SystemConfig, host: EmulatorHost, machine: Machine | undefined, accelerator: string) {
    this.config = config;
    this.host = host;
    this.machine = machine;
    this.accelerator = accelerator;
    this.fdsets = config.fdsets;
    this.#isIncoming = config.incoming !== undefined;
    for (const object of config.objects) this.objects.set(object.id, object);
    this.#events = new EventQueue(events, host, (message) => {
      for (const session of this.sessions) session.sendEvent(message);
    });
    this.balloonPolling = new BalloonPolling(host, machine);
    this.#watch();
  }

  /** How it ended. */
  get ended(): Promise<EmulatorEnd> {
    return this.#ended.promise;
  }

  get state(): RunState {
    return this.machine?.state ?? (this.#started ? 'running' : 'prelaunch');
  }

  emit<Name extends EventName>(
    name: Name,
    ...data: keyof EventData<Name> extends never ? [] : [EventData<Name>]
  ): void {
    this.#events.emit(name, data[0]);
  }

  /** Asks the graph of block nodes. */
  async blockCommand(name: string, args: unknown): Promise<never> {
    const answer = await this.#askBlock(name, args);
    if ('failure' in answer) throw new QmpError(answer.failure, answer.errorClass);
    return answer.result as never;
  }

  async #askBlock(name: string, args: unknown): Promise<BlockAnswer> {
    if (this.machine !== undefined) return this.machine.command('block', { name, args });
    this.#ownBlock ??= this.host.openBlock(blockOptions(this.config), (event, data) => this.#tell(event, data));
    return (await this.#ownBlock).execute(name, args);
  }

  #tell(name: string, data: Readonly<Record<string, unknown>>): void {
    this.#events.emit(name, data);
  }

  /** A device that was plugged in is gone. */
  unplugged(id: string): void {
    const is = (device: { readonly id: string }) => device.id === id;
    const { devices, disks, nics, rng } = this.config;
    this.config = {
      ...this.config,
      devices: devices.filter((device) => !is(device)),
      disks: disks.filter(({ device }) => !is(device)),
      nics: nics.filter(({ device }) => !is(device)),
      rng: rng !== undefined && is(rng) ? undefined : rng,
    };
    this.unplugging.delete(id);
    this.emit('DEVICE_DELETED', { device: id, path: `/machine/peripheral/${id}` });
  }

  /** Runs `work` when everything that was begun before is done, so that no two commands mix. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  async start(): Promise<void> {
    this.#started = true;
    await this.machine?.start();
  }

  /** The guest goes on, or begins. */
  async cont(): Promise<void> {
    if (this.state === 'inmigrate') {
      this.migration.startAlone();
      return;
    }
    if (this.state === 'finish-migrate') throw new UserError('Migration is not finalized yet');
    if (this.state === 'postmigrate' || this.#isIncoming) await this.machine?.command('take-disks');
    const begins = !this.#started;
    if (begins) await this.start();
    if (this.machine === undefined) {
      if (begins) this.emit('RESUME');
      return;
    }
    try {
      await this.machine.command('resume');
    } catch (error) {
      // Who begins to run may have stopped again already, for a reason of its own.
      if (!(begins && ['guest-panicked', 'shutdown'].includes(this.state))) throw error;
    }
  }

  /** Executes one instruction, then stands still. */
  async step(): Promise<void> {
    await this.machine?.command('debug-step');
    if (!this.#started) await this.start();
  }

  /** Calls `listener` whenever the guest has come to stand still. */
  onStandstill(listener: () => void): void {
    this.#standstill.push(listener);
  }

  async stop(): Promise<void> {
    await this.machine?.command('pause');
  }

  /** Makes the machine what it was when a snapshot in its disks was taken. */
  async loadVm(name: string): Promise<void> {
    const { machine } = this;
    if (machine === undefined) throw new UserError('there is no machine (-machine none)');
    await machine.command('load-vm', { name, scope: {}, replaces: false });
  }

  /** Ends without a word to clients: what the emulator was started for has failed. */
  async end(end: EmulatorEnd): Promise<void> {
    this.#ended.resolve(end);
    await this.machine?.stop();
  }

  /** Ends the machine and with it the emulator. */
  async quit(reason: ShutdownReason, end: EmulatorEnd = { exitCode: 0 }): Promise<void> {
    this.emit('SHUTDOWN', { guest: false, reason });
    this.#ended.resolve(end);
    await this.machine?.stop();
  }

  /** Opens a character device; waits for its other side when it is a server that is to wait. */
  async addChardev(config: ChardevConfig): Promise<Chardev> {
    if (this.chardevs.has(config.id)) throw new UserError(`Chardev with id '${config.id}' already exists`);
    const backend = await this.#openBackend(config.backend);
    const chardev = new Chardev(config.id, backend, { mux: config.mux, onQuit: () => void this.quit('host-ui') });
    this.chardevs.set(config.id, chardev);
    return chardev;
  }

  chardev(id: string): Chardev {
    const chardev = this.chardevs.get(id);
    if (chardev === undefined) throw new UserError(`chardev "${id}" not found`);
    return chardev;
  }

  /** A mistake of ours that a command ran into: the machine goes on. */
  reportBug(error: unknown): void {
    this.host.log(`a mistake of ours: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }

  async close(): Promise<void> {
    this.#events.close();
    this.balloonPolling.setSeconds(0);
    await (await this.#ownBlock)?.close();
    await Promise.all([...this.chardevs.values()].map(({ backend }) => backend.close()));
  }

  async #openBackend(backend: ChardevConfig['backend']): Promise<CharBackend> {
    if (backend.kind === 'null') return nullBackend();
    if (backend.kind === 'ringbuf') return ringBackend(backend.sizeBytes);
    return this.host.openCharBackend(backend);
  }

  #watch(): void {
    const { machine } = this;
    if (machine === undefined) return;
    let wasRunning = false;
    machine.onEvent((event) => {
      switch (event.kind) {
        case 'reset':
          if (this.config.logItems.includes('cpu_reset'))
            this.host.log(`CPU reset, asked for by ${event.byGuest ? 'the guest' : 'a monitor'}`);
          this.emit('RESET', { guest: event.byGuest, reason: event.byGuest ? 'guest-reset' : 'host-qmp-system-reset' });
          return;
        case 'shutdown':
          this.emit('SHUTDOWN', { guest: true, reason: event.cause });
          return;
        case 'block':
          this.#tell(event.name, event.data);
          return;
        case 'panicked':
          this.emit('GUEST_PANICKED', { action: PANIC_EVENT_ACTIONS[event.action] });
          return;
        case 'crash-loaded':
          this.emit('GUEST_CRASHLOADED', { action: 'run' });
          return;
        case 'watchdog':
          this.emit('WATCHDOG', { action: WATCHDOG_EVENT_ACTIONS[event.action] });
          return;
        case 'unplugged':
          this.unplugged(event.id);
          return;
        case 'power-button':
          this.emit('POWERDOWN');
          return;
        case 'state': {
          const runs = event.state === 'running';
          if (runs !== wasRunning) this.emit(runs ? 'RESUME' : 'STOP');
          if (wasRunning && !runs) for (const listener of this.#standstill) listener();
          wasRunning = runs;
          return;
        }
      }
    });
    void machine.exited.then((exit) => {
      if (exit.reason === 'debug-exit') this.#ended.resolve({ exitCode: exit.code ?? 0 });
      else if (exit.reason === 'panic') this.#ended.resolve({ exitCode: exit.code ?? 0 });
      else if (exit.reason === 'error') this.#ended.resolve({ exitCode: 1, message: exit.message });
      else this.#ended.resolve({ exitCode: 0 });
    });
  }
}

/** A machine that goes to another process, or comes from one: states and events as QEMU tells them. */
import { IoError, UserError } from '../../base/index.ts';
import type { HostEndpoint } from '../../contract/index.ts';
import { IncomingMachine, type Machine, migratedMachine, type SentMachine } from '../../machine/index.ts';
import { MigrationCancelled, type MigrationProgress, OutgoingMigration } from '../../migration/index.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { QmpError } from '../qmp/errors.ts';
import { type MigrationAddress, type MigrationStream, parseAddress } from './address.ts';
import { MigrationSettings } from './settings.ts';

export type MigrationStatus =
  | 'none'
  | 'setup'
  | 'cancelling'
  | 'cancelled'
  | 'active'
  | 'pre-switchover'
  | 'device'
  | 'completed'
  | 'failed';
const UNDER_WAY: readonly MigrationStatus[] = ['setup', 'active', 'pre-switchover', 'device', 'cancelling'];

/** What the receiving side says when the machine and its disks are its own. */
const TAKEN = new TextEncoder().encode('vireo: taken\n');

/** What is known of a migration that goes out, for query-migrate. */
export interface OutgoingInfo extends MigrationProgress {
  readonly totalMillis: number;
  readonly setupMillis: number;
}

export class Migration {
  readonly settings = new MigrationSettings();
  readonly #emulator: Emulator;
  #status: MigrationStatus = 'none';
  #error: string | undefined;
  #outgoing: OutgoingMigration | undefined;
  #stream: MigrationStream | undefined;
  #startedAt = 0;
  #activeAt = 0;
  #endedAt: number | undefined;
  #continue: (() => void) | undefined;
  /** Where a machine is waited for. */
  #listener: { readonly endpoint?: HostEndpoint; close(): void } | undefined;
  /** The guest runs as soon as it has come. */
  #startsAlone = true;

  constructor(emulator: Emulator) {
    this.#emulator = emulator;
  }

  get status(): MigrationStatus {
    return this.#status;
  }

  get error(): string | undefined {
    return this.#error;
  }

  get isUnderWay(): boolean {
    return UNDER_WAY.includes(this.#status);
  }

  /** Of the last one that went out. */
  get outgoing(): OutgoingInfo | undefined {
    if (this.#outgoing === undefined) return undefined;
    const now = this.#endedAt ?? this.#emulator.host.nowMillis();
    return {
      ...this.#outgoing.progress,
      totalMillis: Math.round(now - this.#startedAt),
      setupMillis: Math.round(this.#activeAt - this.#startedAt),
    };
  }

  get listensAt(): HostEndpoint | undefined {
    return this.#listener?.endpoint;
  }

  // --- Going out.

  /** Begins; how it goes on is told by `status`. Throws QmpError when it cannot begin. */
  start(uri: string): void {
    const address = this.#parse(uri);
    const { machine, state } = this.#emulator;
    if (machine === undefined) throw new QmpError('there is no machine (-machine none)');
    this.refuseWhileUnderWay();
    if (state === 'inmigrate') throw new QmpError('Guest is waiting for an incoming migration');
    if (state === 'postmigrate') throw new QmpError("Can't migrate the vm that was paused due to previous migration");
    if (this.blockedReasons.length > 0) throw new QmpError(this.blockedReasons[0]);
    this.#error = undefined;
    this.#outgoing = undefined;
    this.#endedAt = undefined;
    this.#startedAt = this.#activeAt = this.#emulator.host.nowMillis();
    this.#enter('setup');
    void this.#send(machine, address).catch((error) => this.#emulator.reportBug(error));
  }

  /** Why the machine cannot go now. */
  get blockedReasons(): string[] {
    const shares = this.#emulator.config.shares.map(
      ({ folder }) => `Migration is disabled when VirtFS export path '${folder}' is mounted in the guest`,
    );
    return shares;
  }

  refuseWhileUnderWay(): void {
    if (this.isUnderWay && this.#emulator.state !== 'inmigrate')
      throw new QmpError("There's a migration process in progress");
  }

  cancel(): void {
    if (!this.isUnderWay || this.#emulator.state === 'inmigrate') return;
    this.#enter('cancelling');
    this.#outgoing?.cancel();
    this.#continue?.();
    this.#stream?.destroy();
  }

  /** Goes on from where `pause-before-switchover` stopped it. */
  continue(from: string): void {
    if (this.#status !== from || this.#continue === undefined)
      throw new QmpError(`Migration not in expected state: ${this.#status}`);
    this.#continue();
  }

  async #send(machine: Machine, address: MigrationAddress): Promise<void> {
    let moved: SentMachine | undefined;
    try {
      const stream = await this.#emulator.host.migration.connect(address);
      this.#stream = stream;
      if (this.#status === 'cancelling') throw new MigrationCancelled();
      moved = migratedMachine(machine, stream.answers);
      const outgoing = this.#createOutgoing(moved, stream);
      this.#outgoing = outgoing;
      this.#activeAt = this.#emulator.host.nowMillis();
      this.#enter('active');
      await outgoing.run();
      await machine.command('stand', 'postmigrate');
      this.#end('completed');
    } catch (error) {
      // A cancelled stream breaks in whatever way.
      const isCancelled = this.#status === 'cancelling';
      this.#stream?.destroy();
      if (!isCancelled) this.#error = textOf(error);
      await this.#goOnHere(machine, moved?.stateBefore);
      this.#end(isCancelled ? 'cancelled' : 'failed');
    }
  }

  #createOutgoing(moved: SentMachine, stream: MigrationStream): OutgoingMigration {
    const { host } = this.#emulator;
    const { parameters } = this.settings;
    return new OutgoingMigration(
      moved,
      {
        send: (bytes) => stream.write([bytes]),
        finish: () => (stream.answers ? untilTaken(stream) : stream.finish()),
      },
      {
        parameters,
        autoConverge: this.settings.has('auto-converge'),
        clock: {
          nowMillis: () => host.nowMillis(),
          sleep: (millis) => new Promise((resolve) => void host.after(millis, resolve)),
        },
        hooks: {
          onPass: (pass) => {
            if (this.settings.has('events')) this.#emulator.emit('MIGRATION_PASS', { pass });
          },
          beforeSwitchover: () => this.#beforeSwitchover(),
          onDevice: () => this.#enter('device'),
        },
      },
    );
  }

  async #beforeSwitchover(): Promise<void> {
    if (!this.settings.has('pause-before-switchover') || this.#status === 'cancelling') return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#continue = resolve;
    this.#enter('pre-switchover');
    await promise;
    this.#continue = undefined;
  }

  /** After a failure: the guest goes on where it was, unless somebody else has its disks. */
  async #goOnHere(machine: Machine, before: SentMachine['stateBefore']): Promise<void> {
    if (before === undefined) return;
    try {
      await machine.command('take-disks');
      if (before === 'running') await machine.command('resume');
      else await machine.command('stand', before === 'prelaunch' ? 'prelaunch' : 'paused');
    } catch (error) {
      const why = `the guest stays stopped: ${textOf(error)}`;
      this.#error = this.#error === undefined ? why : `${this.#error}; ${why}`;
      await machine.command('stand', 'postmigrate').catch(() => {}); // it has ended meanwhile
    }
  }

  // --- Coming in.

  /** Waits for a machine. @param startsAlone the guest runs as soon as it is here. Throws QmpError. */
  async listen(uri: string, startsAlone = this.#startsAlone): Promise<void> {
    this.#startsAlone = startsAlone;
    if (uri === 'defer') return;
    const address = this.#parse(uri);
    if (this.#emulator.state !== 'inmigrate') throw new QmpError("'-incoming' was not specified on the command line");
    if (this.#status !== 'none') throw new QmpError('The incoming migration has already been started');
    this.#enter('setup');
    try {
      this.#listener = await this.#emulator.host.migration.listen(address, (stream) => {
        void this.#receive(stream).catch((error) => this.#emulator.reportBug(error));
      });
    } catch (error) {
      this.#enter('none');
      throw error;
    }
  }

  /** `cont` came before the machine did. */
  startAlone(): void {
    this.#startsAlone = true;
  }

  async #receive(stream: MigrationStream): Promise<void> {
    const machine = this.#emulator.machine!;
    const incoming = new IncomingMachine(machine);
    this.#enter('active');
    try {
      while (!incoming.isDone) {
        const bytes = await stream.read();
        if (bytes === undefined) incoming.end();
        else incoming.feed(bytes);
      }
      await incoming.load();
      const runs = this.#startsAlone && incoming.isRunning;
      // Whoever has the disks has the machine; the sender goes on unless it hears that it is here.
      if (runs || !this.settings.has('late-block-activate')) await machine.command('take-disks');
      if (incoming.wantsAnswer) await stream.write([TAKEN]).catch(() => {}); // it has ended: the machine is ours
      await stream.finish().catch(() => {});
      this.#listener?.close();
      this.#end('completed');
      if (runs) await this.#emulator.start();
      else await machine.command('stand', 'paused');
    } catch (error) {
      stream.destroy();
      this.#error = textOf(error);
      this.#end('failed');
      await this.#emulator.end({ exitCode: 1, message: `load of migration failed: ${this.#error}` });
    }
  }

  #parse(uri: string): MigrationAddress {
    return parseAddress(uri, (name) => {
      throw new QmpError(`File descriptor named '${name}' has not been found`);
    });
  }

  #end(status: MigrationStatus): void {
    this.#endedAt = this.#emulator.host.nowMillis();
    this.#stream = undefined;
    this.#enter(status);
  }

  #enter(status: MigrationStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    if (this.settings.has('events')) this.#emulator.emit('MIGRATION', { status });
  }
}

/** Resolves when the receiving side has the machine. */
async function untilTaken(stream: MigrationStream): Promise<void> {
  const decoder = new TextDecoder();
  const wanted = decoder.decode(TAKEN);
  let said = '';
  while (said.length < wanted.length) {
    const bytes = await stream.read();
    if (bytes === undefined) throw new IoError('io', 'the receiving side ended before it had the machine');
    said += decoder.decode(bytes, { stream: true });
  }
  if (said !== wanted) throw new IoError('io', 'the receiving side says something else than that it has the machine');
  stream.destroy();
}

function textOf(error: unknown): string {
  return error instanceof UserError ? error.message : `a mistake of ours: ${String(error)}`;
}

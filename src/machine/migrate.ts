/** Machines that move while they run, on the side of whoever made them. */
import { InternalError } from '../base/index.ts';
import { type MigratedMachine, SnapshotReader, scannerOf } from '../migration/index.ts';
import type { RunState } from './commands.ts';
import { deviceSections, machineRecord } from './device-sections.ts';
import { checkSameHardware, hardwareOf, ramOf, recordAt } from './hardware.ts';
import type { Machine } from './machine.ts';

/** Of the section that says whether the guest ran. */
const RUN_STATE = 'runstate';

export interface SentMachine extends MigratedMachine {
  /** What it did before it was made to stand still for the rest; undefined while that has not happened. */
  readonly stateBefore: RunState | undefined;
}

/** The machine as live migration's sender sees it. */
export function migratedMachine(machine: Machine, wantsAnswer: boolean): SentMachine {
  let stateBefore: RunState | undefined;
  return {
    memory: machine.memory,
    state: { hardware: hardwareOf(machine.config), transfer: { wantsAnswer } },
    get stateBefore() {
      return stateBefore;
    },
    startDirtyLog: () => machine.command('start-dirty-log'),
    takeDirty: () => machine.command('take-dirty'),
    stopDirtyLog: () => machine.command('stop-dirty-log'),
    throttle: (percent) => machine.command('throttle', { percent }),
    async stop() {
      stateBefore = machine.state;
      await machine.command('stand', 'finish-migrate');
      const running = { name: RUN_STATE, version: 1, record: { isRunning: stateBefore === 'running' } };
      return [...deviceSections(await machine.command('save-state')), running];
    },
    release: () => machine.command('release-disks'),
  };
}

/** Takes a machine's state from a stream into a machine of the same hardware that was made for it. */
export class IncomingMachine {
  readonly #machine: Machine;
  readonly #reader = new SnapshotReader();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Everything has come. */
  get isDone(): boolean {
    return this.#reader.isDone;
  }

  /** @throws UserError when the stream is damaged or the machines differ; the machine is of no use then */
  feed(bytes: Uint8Array): void {
    const reader = this.#reader;
    const taken = reader.feed(bytes);
    if (!reader.isWaitingForMemory) return;
    checkSameHardware(recordAt(reader.state, 'hardware'), hardwareOf(this.#machine.config));
    reader.connectMemory(ramOf(this.#machine), scannerOf(this.#machine.memory).checksum);
    reader.feed(bytes.subarray(taken));
  }

  /** The stream has ended. @throws UserError when that was too early */
  end(): void {
    this.#reader.end();
  }

  /** The sender waits for word that the machine has arrived. */
  get wantsAnswer(): boolean {
    return recordAt(this.#reader.state, 'transfer').wantsAnswer === true;
  }

  /** The guest ran. */
  get isRunning(): boolean {
    return this.#reader.devices.find(({ name }) => name === RUN_STATE)?.record.isRunning === true;
  }

  /** Gives the machine what has come: the last step before it can run. */
  async load(): Promise<void> {
    if (!this.isDone) throw new InternalError('a machine that has not come whole');
    const { version, state } = this.#reader;
    const devices = this.#reader.devices.filter(({ name }) => name !== RUN_STATE);
    await this.#machine.command('load-state', machineRecord({ version, state, devices }));
  }
}

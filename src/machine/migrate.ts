/** Machines that move while they run, on the side of whoever made them. */
import { InternalError } from '../base/index.ts';
import type { DeviceRecord } from '../contract/index.ts';
import { type MigratedMachine, SnapshotReader } from '../migration/index.ts';
import { deviceSections, machineRecord } from './device-sections.ts';
import { checkSameHardware, hardwareOf, ramOf, recordAt } from './hardware.ts';
import type { Machine } from './machine.ts';

/** What the receiving side must know before the first page. */
export interface TransferFacts {
  /** The guest ran, and runs on the other side. */
  readonly isRunning: boolean;
  /** The sender waits for word that the machine has arrived. */
  readonly wantsAnswer: boolean;
}

/** The machine as live migration's sender sees it. */
export function migratedMachine(machine: Machine, facts: TransferFacts): MigratedMachine {
  const state: DeviceRecord = { hardware: hardwareOf(machine.config), transfer: { ...facts } };
  return {
    memory: machine.memory,
    state,
    startDirtyLog: () => machine.command('start-dirty-log'),
    takeDirty: () => machine.command('take-dirty'),
    stopDirtyLog: () => machine.command('stop-dirty-log'),
    throttle: (percent) => machine.command('throttle', { percent }),
    async stop() {
      await machine.command('stand', 'finish-migrate');
      return deviceSections(await machine.command('save-state'));
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
    reader.connectMemory(ramOf(this.#machine));
    reader.feed(bytes.subarray(taken));
  }

  /** The stream has ended. @throws UserError when that was too early */
  end(): void {
    this.#reader.end();
  }

  get facts(): TransferFacts {
    const { isRunning, wantsAnswer } = recordAt(this.#reader.state, 'transfer');
    return { isRunning: isRunning === true, wantsAnswer: wantsAnswer === true };
  }

  /** Gives the machine what has come: the last step before it can run. */
  async load(): Promise<void> {
    if (!this.isDone) throw new InternalError('a machine that has not come whole');
    await this.#machine.command('load-state', machineRecord(this.#reader));
  }
}

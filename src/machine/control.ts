/** The machine's thread takes commands: between slices of the guest, so that what they see and change is consistent. */
import { UserError } from '../base/index.ts';
import type { ThreadContext } from '../contract/index.ts';
import { PAGE_BYTES } from '../migration/index.ts';
import type {
  MachineActions,
  MachineCommandName,
  MachineCommands,
  MachineEvent,
  RunState,
  VmSnapshotOrder,
} from './commands.ts';
import { BREAKPOINTS_MAX, DEFAULT_ACTIONS, MEMORY_TRANSFER_MAX_BYTES } from './commands.ts';
import { loadMachineRecord, saveMachineRecord } from './machine-record.ts';
import type { AssembledMachine } from './parts.ts';
import { deleteVm, loadVm, saveVm } from './vm-snapshots.ts';

/** What the run loop asks and tells. */
export interface RunControl {
  readonly state: RunState;
  readonly actions: MachineActions;
  /** How many percent of its time the guest is not to run. */
  readonly throttlePercent: number;
  enter(state: RunState): void;
  tell(event: MachineEvent): void;
}

export type CommandHandlers = {
  readonly [Name in MachineCommandName]: (
    argument: MachineCommands[Name][0],
  ) => MachineCommands[Name][1] | Promise<MachineCommands[Name][1]>;
};

/** Where the state of another machine may be loaded. */
const TAKES_STATE: readonly RunState[] = ['prelaunch', 'inmigrate', 'restore-vm'];
const THROTTLE_MAX_PERCENT = 99;

export class MachineControl implements RunControl {
  readonly #post: (event: MachineEvent) => void;
  readonly #thread: ThreadContext;
  #state: RunState = 'prelaunch';
  #actions = DEFAULT_ACTIONS;
  #throttlePercent = 0;

  constructor(thread: ThreadContext, post: (event: MachineEvent) => void) {
    this.#thread = thread;
    this.#post = post;
  }

  get state(): RunState {
    return this.#state;
  }

  get actions(): MachineActions {
    return this.#actions;
  }

  get throttlePercent(): number {
    return this.#throttlePercent;
  }

  changeActions(changes: Partial<MachineActions>): void {
    this.#actions = { ...this.#actions, ...changes };
  }

  enter(state: RunState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.tell({ kind: 'state', state });
  }

  tell(event: MachineEvent): void {
    this.#post(event);
  }

  /** Throws UserError when the machine cannot do what it is asked for. */
  handle<Name extends MachineCommandName>(
    machine: AssembledMachine,
    name: Name,
    argument: MachineCommands[Name][0],
  ): MachineCommands[Name][1] | Promise<MachineCommands[Name][1]> {
    return this.#handlers(machine)[name](argument);
  }

  #handlers(machine: AssembledMachine): CommandHandlers {
    const { memory } = machine;
    const range = (address: number, length: number): Uint8Array => {
      const view = length <= MEMORY_TRANSFER_MAX_BYTES ? memory.view(address, length) : undefined;
      if (view === undefined) throw new UserError(`there is no memory at 0x${address.toString(16)}`);
      return view;
    };
    const dirtyLog = () => {
      if (memory.dirtyLog === undefined) throw new UserError('this accelerator cannot say what the guest writes');
      return memory.dirtyLog;
    };
    const balloon = () => {
      if (machine.balloon === undefined) throw new UserError('the machine has no balloon');
      return machine.balloon;
    };
    const debug = () => {
      const { debug: found } = machine.vcpu;
      if (found === undefined) throw new UserError('this accelerator cannot be debugged; -accel tcg can');
      return found;
    };
    return {
      pause: () => {
        machine.vcpus?.pause(); // at once: what follows looks at a guest that stands still
        if (this.#state === 'running') this.enter('paused');
        return undefined;
      },
      stand: (state) => {
        machine.vcpus?.pause();
        this.enter(state);
        return undefined;
      },
      resume: () => {
        if (this.#state === 'shutdown' || this.#state === 'guest-panicked') {
          throw new UserError('Resetting the Virtual Machine is required');
        }
        if (!machine.hasDisks)
          throw new UserError('the disks of the machine were given up: another process may have them');
        machine.release();
        this.enter('running');
        this.#thread.wake();
        return undefined;
      },
      reset: () => {
        machine.vcpus?.pause();
        machine.reset();
        this.tell({ kind: 'reset', byGuest: false });
        if (this.#state !== 'running') this.enter('prelaunch');
        return undefined;
      },
      'press-power-button': () => {
        machine.pressPowerButton();
        this.tell({ kind: 'power-button' });
        return undefined;
      },
      nmi: () => {
        machine.vcpu.nmi();
        this.#thread.wake();
        return undefined;
      },
      'set-actions': (changes) => {
        this.changeActions(changes);
        return undefined;
      },
      'save-state': async () => {
        if (this.#state === 'running') throw new UserError('the machine must be paused for a snapshot');
        if (machine.hasShares)
          throw new UserError('a machine with shared folders cannot be saved: what the guest has open there is lost');
        machine.hold();
        await machine.settled();
        machine.flush();
        return saveMachineRecord(machine);
      },
      'load-state': (record) => {
        if (!TAKES_STATE.includes(this.#state)) throw new UserError('a machine that ran takes no snapshot');
        if (this.#state === 'restore-vm') for (const { base, size } of memory.ranges) memory.written(base, size);
        loadMachineRecord(machine, record);
        return undefined;
      },
      'start-dirty-log': () => {
        dirtyLog().start();
        return undefined;
      },
      'take-dirty': () => {
        const bitmap = new Uint8Array(Math.ceil(memory.size / PAGE_BYTES / 8));
        dirtyLog().take(bitmap);
        return bitmap;
      },
      'stop-dirty-log': () => {
        dirtyLog().stop();
        return undefined;
      },
      throttle: ({ percent }) => {
        this.#throttlePercent = Math.max(0, Math.min(THROTTLE_MAX_PERCENT, percent));
        return undefined;
      },
      'release-disks': async () => {
        if (this.#state === 'running') throw new UserError('the machine must be paused to give up its disks');
        await machine.settled();
        await machine.releaseDisks();
        return undefined;
      },
      'take-disks': async () => {
        await machine.takeDisks();
        return undefined;
      },
      'read-cpu': () => machine.vcpu.snapshot(),
      'write-cpu': (record) => {
        machine.vcpu.restore(record);
        return undefined;
      },
      'set-breakpoints': (addresses) => {
        if (addresses.length > BREAKPOINTS_MAX) throw new UserError(`there can be ${BREAKPOINTS_MAX} breakpoints`);
        const known = new Set(addresses);
        const linear = (low: number, high: number) => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
        debug().isBreakpoint = (low, high) => known.has(linear(low, high));
        debug().watch?.(addresses);
        return undefined;
      },
      'debug-step': () => {
        debug().step();
        this.enter('running');
        this.#thread.wake();
        return undefined;
      },
      'describe-cpu': () => machine.vcpu.describe(),
      'accelerator-statistics': () => machine.vcpu.statistics?.() ?? {},
      'read-memory': ({ address, length }) => range(address, length).slice(),
      'write-memory': ({ address, bytes }) => {
        range(address, bytes.length).set(bytes);
        memory.written(address, bytes.length);
        return undefined;
      },
      disks: () => machine.disks(),
      'save-vm': (order) => this.#vmWork(machine, 'snapshot-save', order, 'save-vm', () => saveVm(machine, order)),
      'load-vm': (order) => this.#vmWork(machine, 'snapshot-load', order, 'restore-vm', () => loadVm(machine, order)),
      'delete-vm': (order) =>
        this.#vmWork(machine, 'snapshot-delete', order, undefined, () => deleteVm(machine, order)),
      'list-vms': () =>
        machine.block?.vm.list().map(({ id, name, vmStateBytes, dateSeconds, vmClockNanos, instructionCount }) => {
          return { id, name, vmStateBytes, dateSeconds, vmClockNanos, instructionCount };
        }) ?? [],
      block: ({ name, args }) => {
        if (machine.block === undefined) throw new UserError('the disks of this machine do not stand on block nodes');
        return machine.block.execute(name, args);
      },
      balloon: () => {
        const { actualBytes, reportedBytes, statistics } = balloon();
        return { actualBytes: memory.size - actualBytes, reportedBytes, statistics };
      },
      'set-balloon': ({ bytes }) => {
        balloon().setTarget(Math.max(0, memory.size - bytes));
        this.#thread.wake();
        return undefined;
      },
      'refresh-balloon-statistics': () => {
        balloon().refreshStatistics();
        this.#thread.wake();
        return undefined;
      },
      'send-input': ({ device, events }) => {
        this.#thread.wake();
        return machine.sendInput(device, events);
      },
      plug: async (request) => {
        await machine.plug(request);
        this.#thread.wake();
        return undefined;
      },
      unplug: ({ id }) => {
        machine.unplug(id);
        this.#thread.wake();
        return undefined;
      },
      'set-link': ({ network, up }) => {
        machine.setLink(network, up);
        this.#thread.wake();
        return undefined;
      },
    };
  }

  /** Work on the machine while it stands still in `during`, if it is to; then it is what it was before. */
  async #vmWork(
    machine: AssembledMachine,
    type: 'snapshot-save' | 'snapshot-load' | 'snapshot-delete',
    { job }: VmSnapshotOrder,
    during: RunState | undefined,
    work: () => Promise<void>,
  ): Promise<undefined> {
    const whole = async () => {
      const before = this.#state;
      if (before === 'inmigrate' || before === 'finish-migrate' || before === 'postmigrate')
        throw new UserError('the machine is on its way to or from another process');
      if (during !== undefined) this.enter(during);
      try {
        await work();
      } finally {
        if (during !== undefined) {
          machine.release();
          this.enter(before);
          this.#thread.wake();
        }
      }
    };
    if (job === undefined) await whole();
    else if (machine.block === undefined) throw new UserError('No block device can accept snapshots');
    else machine.block.startJob(job, type, whole);
    return undefined;
  }
}

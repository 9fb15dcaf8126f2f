/** The accelerator: a VM with its RAM, its interrupt controllers and its vCPUs, ready for a board. */
import { InternalError, UserError } from '../../base/index.ts';
import type { Bus, Doorbells, InterruptControllers, LocalApic, VcpuThreads } from '../../contract/index.ts';
import { resolveModel } from '../../target/index.ts';
import { cpuidOf, modelName } from './cpuid.ts';
import type { KvmHost, RamOptions } from './host.ts';
import { CAP } from './ioctls.ts';
import { kernelIrqchip, type LocalApics, type OutsideControllers, splitIrqchip } from './irqchip.ts';
import { KvmMemory } from './memory.ts';
import { type KvmSystem, openKvm } from './system.ts';
import { KvmThreads } from './threads.ts';
import { stateMsrs } from './vcpu-state.ts';
import type { KvmVm } from './vm.ts';

/** To APIC 0, delivery mode NMI (SDM vol. 3, 11.11). */
const NMI_MESSAGE = { address: 0xfee0_0000, data: 0x400 } as const;

export interface KvmOptions {
  /** As QEMU writes it, `max` and `host` for all that the processor can. */
  readonly cpuModel: string;
  /** Guest physical ranges of RAM, 4-KiB aligned. */
  readonly ramRanges: readonly { readonly base: number; readonly size: number }[];
  readonly cpus?: number;
  readonly ram?: RamOptions;
  /**
   * `off`: interrupt controllers and timer chip are the board's own, for one CPU; `split`: all but the local APICs are;
   * default `on`: all are the kernel's.
   */
  readonly kernelIrqchip?: 'on' | 'off' | 'split';
  /** A clock that never goes back, in nanoseconds. */
  monotonicNanos(): number;
}

/** What vCPUs need of a board. */
export interface KvmBoard {
  readonly mmio: Bus;
  readonly ports: Bus;
  /** Used with `kernelIrqchip: 'off'`. */
  readonly apic?: LocalApic;
  mayContinue(): boolean;
}

export interface KvmAccelerator {
  readonly kind: 'threads';
  readonly memory: KvmMemory;
  /**
   * Undefined when the board is to have its own.
   * @param elcr which 8259 inputs are level triggered at power-up; called once, before `createVcpus`
   */
  createInterrupts(elcr: number): InterruptControllers | undefined;
  readonly doorbells: Doorbells;
  createVcpus(board: KvmBoard): VcpuThreads;
  /** After the vCPUs' `close`. */
  close(): void;
}

/** Why this host's KVM cannot run a whole guest, or undefined. `openKvm` says why it cannot be used at all. */
export function unfitForGuests(host: KvmHost): string | undefined {
  if (!host.isPvm) return undefined;
  return 'this host has KVM without hardware virtualization (PVM), which runs small guests and no unmodified kernel';
}

/** Throws UserError when /dev/kvm cannot be used, for an unknown CPU model, and when there is not enough memory. */
export function createKvm(host: KvmHost, options: KvmOptions): KvmAccelerator {
  const system = openKvm(host);
  try {
    return assemble(system, options);
  } catch (error) {
    system.close();
    throw error;
  }
}

function assemble(system: KvmSystem, options: KvmOptions): KvmAccelerator {
  const { host } = system;
  const { cpus = 1 } = options;
  const vm = system.createVm();
  const most = vm.capability(CAP.MAX_VCPUS);
  if (cpus > most) throw new UserError(`${cpus} CPUs are more than this host's KVM has for a guest: ${most}`);
  const ownsIrqchip = options.kernelIrqchip === 'off';
  if (options.kernelIrqchip === 'split' && vm.capability(CAP.SPLIT_IRQCHIP) === 0)
    throw new UserError("this host's KVM has no local APICs without the other controllers (kernel-irqchip split)");
  if (ownsIrqchip && cpus > 1)
    throw new UserError(`without the kernel's interrupt controllers there is one CPU, not ${cpus}`);
  const memory = new KvmMemory(host, options.ramRanges, options.ram ?? {});
  memory.connect(vm);
  let threads: KvmThreads | undefined;
  let outside: OutsideControllers | undefined;
  /** By event counter. */
  const bells = new Map<number, () => void>();
  return {
    kind: 'threads',
    memory,
    createInterrupts(elcr) {
      if (ownsIrqchip) return undefined;
      // The CPUs come later than what is wired to them.
      const existing = () => {
        if (threads === undefined) throw new InternalError('local APICs before there are CPUs');
        return threads;
      };
      const apics: LocalApics = {
        localApic: (cpu) => existing().localApic(cpu),
        setLocalApic: (cpu, state) => existing().setLocalApic(cpu, state),
      };
      if (options.kernelIrqchip !== 'split') return kernelIrqchip(vm, elcr, cpus, apics);
      return splitIrqchip(
        vm,
        { cpus, ...apics },
        {
          connect(controllers) {
            outside = controllers;
          },
          request: () => threads?.interruptRequest(),
        },
      );
    },
    doorbells: {
      bind(address, onRing) {
        const place = { address, length: 0 };
        const fd = host.eventfd();
        if (!vm.bindIoeventfd(fd, place)) {
          host.close(fd);
          return undefined;
        }
        bells.set(fd, onRing);
        threads?.listen(fd, onRing);
        return () => {
          bells.delete(fd);
          threads?.unlisten(fd);
          vm.unbindIoeventfd(fd, place);
          host.close(fd);
        };
      },
    },
    createVcpus(board) {
      threads = createVcpus(vm, options, board, outside);
      for (const [fd, onRing] of bells) threads.listen(fd, onRing);
      return threads;
    },
    close() {
      vm.close();
      system.close();
    },
  };
}

function createVcpus(
  vm: KvmVm,
  { cpuModel, cpus = 1, kernelIrqchip = 'on', monotonicNanos }: KvmOptions,
  { mmio, ports, mayContinue, apic: boardsApic }: KvmBoard,
  outside: OutsideControllers | undefined,
): KvmThreads {
  const apic = kernelIrqchip === 'off' ? boardsApic : undefined;
  const { system } = vm;
  const pages = vm.allocateRunPages(cpus);
  const supported = system.supportedCpuid();
  const { tscHertz } = resolveModel(modelName(cpuModel));
  const vcpus = Array.from({ length: cpus }, (_, index) => {
    const vcpu = vm.createVcpu(index, pages, index * system.runSizeBytes);
    const { capability } = system;
    vcpu.setCpuid(cpuidOf({ supported, cpuModel, cpus, index, capability, kernelApic: apic === undefined }));
    if (tscHertz !== undefined && !vcpu.setTscKhz(Math.floor(tscHertz / 1000))) {
      throw new UserError(
        `tsc-frequency=${tscHertz}: this host's processor cannot run the counter at another rate than ${vcpu.tscKhz()} kHz`,
      );
    }
    return vcpu;
  });
  const msrs = stateMsrs(system.msrIndices());
  const clock = { read: () => vm.clock(), write: (nanos: bigint) => vm.setClock(nanos) };
  // As a message to its local APIC: a call on the vCPU would wait until it leaves the guest.
  const nmi = () => void vm.signalMsi(NMI_MESSAGE.address, NMI_MESSAGE.data);
  const { host } = system;
  return new KvmThreads({ mmio, ports, mayContinue, apic, outside, host, vcpus, msrs, clock, nmi }, monotonicNanos);
}

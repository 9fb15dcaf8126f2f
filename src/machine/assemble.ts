/** From a configuration to a machine: the one place where the order of construction is read. */
import type { CharPort, CpuSignals, ThreadContext, Vcpu } from '../contract/index.ts';
import { createPcBoard, loadKernel, putAcpiTables, ramRegions } from '../hw/index.ts';
import { VirtualClock } from './clock.ts';
import type { MachineConfig } from './config.ts';
import type { PanicWatch } from './panic.ts';
import type { AssembledMachine, CreateAccelerator, GuestRequest } from './parts.ts';
import type { SerialPort } from './serial-port.ts';

/** What a machine is connected to outside. */
export interface Outside {
  readonly thread: ThreadContext;
  readonly serial: readonly SerialPort[];
  /** Watches what COM1 prints. */
  readonly panic: PanicWatch;
  readonly createAccelerator: CreateAccelerator;
}

/**
 * RAM first, because it decides how much there is to boot into; then the board
 * around it; the CPU last, because it needs the board's buses and local APIC.
 * Throws UserError when the kernel does not fit.
 */
export async function assemble(config: MachineConfig, outside: Outside): Promise<AssembledMachine> {
  const { thread, panic, serial } = outside;
  const clock = new VirtualClock(() => thread.monotonicNanos());
  let request: GuestRequest | undefined;
  const ask = (asked: GuestRequest) => {
    request ??= asked;
  };

  const accelerator = await outside.createAccelerator({
    cpuModel: config.cpu,
    ramRanges: ramRegions(config.memoryBytes),
  });
  const { memory } = accelerator;
  const cpu = forwardingSignals();
  const board = createPcBoard({
    memory,
    clock,
    wallClock: { nowMillis: () => thread.wallMillis() },
    cpu: cpu.signals,
    nanosFromTsc: cpu.nanosFromTsc,
    serial: serial.map((port, index) => (index === 0 ? watched(port, panic) : port)),
    onPowerOff: () => ask({ kind: 'power-off' }),
    onReset: () => ask({ kind: 'reset' }),
    onDebugExit: (value) => ask({ kind: 'debug-exit', code: ((value << 1) | 1) & 0xff }),
  });
  const vcpu = accelerator.createVcpu({ memory, mmio: board.mmio, ports: board.ports, clock, apic: board.apic });
  cpu.connect(vcpu);

  const reset = () => {
    board.reset();
    vcpu.reset();
    const rsdp = putAcpiTables(memory, { cpuCount: 1, keyboardController: board.hasKeyboardController });
    vcpu.setEntry(loadKernel({ ...config.boot, rsdp }, memory).entry);
  };
  reset();
  return {
    clock,
    vcpu,
    reset,
    flush: () => board.flush(),
    takeRequest() {
      const taken = request;
      request = undefined;
      return taken;
    },
  };
}

/** The board needs the CPU's pins before the CPU exists: pins that lead nowhere until it is connected. */
function forwardingSignals() {
  let target: Vcpu | undefined;
  const signals: CpuSignals = {
    interruptRequest: () => target?.interruptRequest(),
    nmi: () => target?.nmi(),
    init: () => target?.init(),
    startup: (vector) => target?.startup(vector),
    setA20: (enabled) => target?.setA20(enabled),
  };
  return {
    signals,
    nanosFromTsc: (low: number, high: number) => target?.nanosFromTsc(low, high) ?? Number.POSITIVE_INFINITY,
    connect(vcpu: Vcpu) {
      target = vcpu;
    },
  };
}

/** COM1 with an eye on what it prints. */
function watched(port: CharPort, panic: PanicWatch): CharPort {
  return {
    write(bytes) {
      panic.feed(bytes);
      port.write(bytes);
    },
    connect: (receiver) => port.connect(receiver),
  };
}

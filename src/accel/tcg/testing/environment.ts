/** What a vCPU needs, for tests: no devices, no interrupts, real time. */
import { performance } from 'node:perf_hooks';
import type { AccessSize, Bus, GuestMemory, LocalApic, VcpuEnvironment } from '../../../contract/index.ts';

/** A bus where only `write` is listened to; reads are all ones. */
export function plainBus(
  write: (address: number, size: AccessSize, value: number) => void = () => {},
  read: (address: number, size: AccessSize) => number = () => 0xffff_ffff,
): Bus {
  return {
    map: () => {
      throw new Error('nothing is mapped on this bus');
    },
    read: (address, size) => (read(address, size) & (2 ** (8 * size) - 1)) >>> 0,
    write,
  };
}

/** A local APIC that never has an interrupt; it keeps its task priority. */
function silentApic(): LocalApic {
  let tpr = 0;
  return {
    pendingVector: () => -1,
    acknowledge: () => -1,
    readBase: () => ({ low: 0xfee0_0900, high: 0 }),
    writeBase: () => true,
    readTpr: () => tpr,
    writeTpr: (priorityClass) => {
      tpr = priorityClass;
    },
    readX2apic: () => undefined,
    writeX2apic: () => false,
    readTscDeadline: () => ({ low: 0, high: 0 }),
    writeTscDeadline: () => {},
    reset: () => {},
  };
}

export function plainEnvironment(memory: GuestMemory, ports: Bus = plainBus()): VcpuEnvironment {
  const start = performance.now();
  return {
    memory,
    mmio: plainBus(),
    ports,
    clock: {
      nowNanos: () => (performance.now() - start) * 1e6,
      createTimer: () => {
        throw new Error('no timers in this test');
      },
    },
    apic: silentApic(),
  };
}

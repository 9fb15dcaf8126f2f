/**
 * A guest that its program leaves as it is: `node left-guest.ts STATE` ends the process while the guest runs; as a
 * worker it says that the guest runs, and waits to be terminated.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { nodeKvmHost } from '../../../host/node/index.ts';
import { plainBus } from '../../tcg/testing/environment.ts';
import { createKvm } from '../accelerator.ts';

const [CODE, TABLES, GDT] = [0x1000, 0x2000, 0x500];
const RAM_BYTES = 2 * 1024 * 1024;
const GUESTS: Record<string, readonly number[]> = {
  busy: [0xeb, 0xfe], // jmp to itself
  asleep: [0xf4, 0xeb, 0xfd], // l: hlt; jmp l
  asking: [0xe6, 0x10, 0xeb, 0xfc], // l: out 10h, al; jmp l
};
export const LEFT_STATES = ['busy', 'asleep', 'asking', 'paused', 'never started'] as const;

function leave(state: string): void {
  const kvm = createKvm(nodeKvmHost(), {
    cpuModel: 'max',
    cpus: 3,
    ramRanges: [{ base: 0, size: RAM_BYTES }],
    monotonicNanos: () => performance.now() * 1e6,
  });
  kvm.createInterrupts(0);
  const memory = kvm.memory.view(0, RAM_BYTES)!;
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  memory.set(GUESTS[state] ?? GUESTS.busy, CODE);
  view.setBigUint64(TABLES, BigInt(TABLES + 0x1003), true);
  view.setBigUint64(TABLES + 0x1000, BigInt(TABLES + 0x2003), true);
  view.setBigUint64(TABLES + 0x2000, 0x83n, true);
  view.setBigUint64(GDT + 0x10, 0x00af_9b00_0000_ffffn, true);
  view.setBigUint64(GDT + 0x18, 0x00cf_9300_0000_ffffn, true);
  let outs = 0;
  const vcpus = kvm.createVcpus({ mmio: plainBus(), ports: plainBus(() => outs++), mayContinue: () => true });
  vcpus.reset({ mode: 'long64', rip: CODE, registers: {}, cr3: TABLES, gdt: { base: GDT, limit: 0x1f } });
  if (state === 'never started') return;
  vcpus.resume();
  if (state === 'asking') while (outs < 10) if (!vcpus.serve()) vcpus.wait(1e7);
  if (state === 'paused') vcpus.pause();
}

if (isMainThread && process.argv[1] === import.meta.filename) {
  leave(process.argv[2]);
  process.exit(7);
} else if (!isMainThread) {
  leave(workerData);
  parentPort?.on('message', () => {}); // it lives until it is terminated
  parentPort?.postMessage('ready');
}

/** A machine's vCPU thread and its turns with the thread of the devices: exits, kicks, interrupts. */
import { createKvm } from '../../src/accel/index.ts';
import type { AccessSize, Bus } from '../../src/contract/index.ts';
import { nodeKvmHost } from '../../src/host/node/index.ts';

const ENTRY = 0x1000;
const TABLES = 0x2000;
const HANDLER = 0x1800;
const VECTOR = 0x24;

/** l: out 10h, al; jmp l */
const OUT_LOOP = [0xe6, 0x10, 0xeb, 0xfc];
/** jmp to itself */
const BUSY = [0xeb, 0xfe];
/** Switches the local APIC on and says so: mov eax, fee000f0h; mov dword [rax], 1ffh; out 12h, al; then sti; l: hlt; jmp l */
const SLEEP = [0xb8, 0xf0, 0x00, 0xe0, 0xfe, 0xc7, 0x00, 0xff, 0x01, 0, 0, 0xe6, 0x12, 0xfb, 0xf4, 0xeb, 0xfd];
/** End of interrupt, out 11h, al, and asleep again; it does not return, so that the stack grows. */
const ON_INTERRUPT = [0xb8, 0xb0, 0x00, 0xe0, 0xfe, 0xc7, 0x00, 0, 0, 0, 0, 0xe6, 0x11, 0xfb, 0xf4, 0xeb, 0xfd];
const STACK = 0x10_0000;

interface Rig {
  readonly vcpus: ReturnType<ReturnType<typeof createKvm>['createVcpus']>;
  readonly signal: () => void;
  close(): Promise<void>;
}

function rig(code: readonly number[], onOut: (port: number) => void, cpus = 1): Rig {
  const now = () => performance.now() * 1e6;
  const kvm = createKvm(nodeKvmHost(), {
    cpuModel: 'max',
    cpus,
    ramRanges: [{ base: 0, size: 2 << 20 }],
    monotonicNanos: now,
  });
  const { msi } = kvm.createInterrupts(0)!;
  const bus: Bus = {
    map: () => ({ base: 0, size: 0, unmap() {} }),
    read: () => 0,
    write: (port: number, _size: AccessSize, _value: number) => onOut(port),
  };
  const vcpus = kvm.createVcpus({ mmio: bus, ports: bus, mayContinue: () => true });
  const memory = kvm.memory.view(0, 2 << 20)!;
  memory.set(code, ENTRY);
  memory.set(ON_INTERRUPT, HANDLER);
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  view.setBigUint64(TABLES, BigInt(TABLES + 0x1003), true);
  view.setBigUint64(TABLES + 0x1000, BigInt(TABLES + 0x2003), true);
  view.setBigUint64(TABLES + 0x2000, 0x83n, true);
  // The local APIC's page, in the fourth GiB.
  view.setBigUint64(TABLES + 0x1018, BigInt(TABLES + 0x3003), true);
  view.setBigUint64(TABLES + 0x3000 + 0x1f7 * 8, 0xfee0_0083n, true);
  view.setBigUint64(0x510, 0x00af_9b00_0000_ffffn, true);
  view.setBigUint64(0x518, 0x00cf_9300_0000_ffffn, true);
  view.setBigUint64(VECTOR * 16, (0x8e00n << 32n) | (0x10n << 16n) | BigInt(HANDLER), true);
  vcpus.reset({
    mode: 'long64',
    rip: ENTRY,
    registers: { rsp: STACK },
    cr3: TABLES,
    gdt: { base: 0x500, limit: 0x1f },
  });
  return {
    vcpus,
    signal: () => msi.send(0xfee0_0000, VECTOR),
    async close() {
      await vcpus.close();
      kvm.close();
    },
  };
}

/** Exits a second with the device in this thread and the vCPU in its own. */
export async function threadExits(count: number): Promise<number> {
  let seen = 0;
  const guest = rig(OUT_LOOP, () => seen++);
  guest.vcpus.resume();
  const serve = () => {
    if (!guest.vcpus.serve() && !guest.vcpus.spin()) guest.vcpus.wait(1e8);
  };
  while (seen < count / 10) serve();
  seen = 0;
  const start = performance.now();
  while (seen < count) serve();
  const seconds = (performance.now() - start) / 1000;
  await guest.close();
  return count / seconds;
}

/** Microseconds from the wish to stop a busy vCPU until it stands still. */
export async function kickMicros(count: number): Promise<number[]> {
  const guest = rig(BUSY, () => {});
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    guest.vcpus.resume();
    const until = performance.now() + 2;
    while (performance.now() < until);
    const start = performance.now();
    guest.vcpus.pause();
    times.push((performance.now() - start) * 1000);
  }
  await guest.close();
  return times;
}

/** Microseconds from a message to a sleeping guest until the device sees what its handler writes. */
export async function interruptMicros(count: number): Promise<number[]> {
  let seen = 0;
  const guest = rig(SLEEP, () => seen++);
  const serveUntil = (isOver: () => boolean) => {
    while (!isOver()) if (!guest.vcpus.serve()) guest.vcpus.spin();
  };
  guest.vcpus.resume();
  serveUntil(() => seen === 1);
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const rest = performance.now() + 1;
    serveUntil(() => performance.now() > rest);
    const [before, start] = [seen, performance.now()];
    guest.signal();
    serveUntil(() => seen > before || performance.now() > start + 1000);
    times.push((performance.now() - start) * 1000);
  }
  await guest.close();
  if (seen - 1 !== count) throw new Error(`${seen - 1} of ${count} interrupts arrived`);
  return times;
}

/** What so many vCPUs with their threads take of time and memory. */
export async function manyVcpus(count: number): Promise<string> {
  const [time, used, memory] = [performance.now(), process.cpuUsage(), process.memoryUsage.rss()];
  const guest = rig(BUSY, () => {}, count);
  guest.vcpus.resume();
  guest.vcpus.pause();
  const mebibytes = (process.memoryUsage.rss() - memory) / 1024 ** 2;
  await guest.close();
  const { user, system } = process.cpuUsage(used);
  const millis = [performance.now() - time, (user + system) / 1000].map((value) => value.toFixed(0));
  return `${millis[0]} ms, ${millis[1]} ms of processor time, ${mebibytes.toFixed(0)} MiB`;
}

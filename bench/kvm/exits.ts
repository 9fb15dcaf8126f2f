/** Exits a second: the bare loop in one thread, and a machine's way with devices in another. */
import { openKvm } from '../../src/accel/index.ts';
import { EXIT } from '../../src/accel/kvm/exits.ts';
import { exitIo, RUN_DATA, runHead } from '../../src/accel/kvm/structures.ts';
import { tinyGuest } from '../../src/accel/kvm/testing/tiny-guest.ts';

const LOOP = [0xe6, 0x10, 0xeb, 0xfc]; // l: out 10h, al; jmp l

/** Exits a second that this thread takes by itself. */
export function bareExits(count: number): number {
  using guest = tinyGuest(LOOP);
  const { vcpu } = guest;
  const view = vcpu.runView;
  const run = vcpu.run;
  let sum = 0;
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    while (vcpu.enter() < 0); // a signal of the process's
    if (view.getUint32(runHead.offsets.exitReason, true) !== EXIT.io) throw new Error('no exit');
    if (view.getUint16(RUN_DATA + exitIo.offsets.port, true) !== 0x10) throw new Error('another port');
    sum += run[view.getUint32(RUN_DATA + exitIo.offsets.dataOffset, true)];
  }
  const seconds = (performance.now() - start) / 1000;
  if (sum !== 0) throw new Error('another value');
  return count / seconds;
}

/** What the kernel says of its own rate of CHECK_EXTENSION calls: the cost of a call alone, in nanoseconds. */
export function callNanos(host: Parameters<typeof openKvm>[0], count: number): number {
  const system = openKvm(host);
  const CHECK_EXTENSION = 0xae03;
  const start = performance.now();
  for (let i = 0; i < count; i++) host.ioctl(system.fd, CHECK_EXTENSION, 10);
  const nanos = ((performance.now() - start) * 1e6) / count;
  system.close();
  return nanos;
}

/** What a message to a local APIC costs this thread, as a call and through an irqfd, in nanoseconds. */
export function messageNanos(count: number): { readonly call: number; readonly irqfd: number } {
  const [VECTOR, GSI] = [0x24, 30];
  using guest = tinyGuest([0xf4], { irqchip: 'full' });
  const { vm, system } = guest;
  vm.setRoutes([{ gsi: GSI, kind: 'msi', address: 0xfee0_0000, data: VECTOR }]);
  const fd = system.host.eventfd();
  vm.bindIrqfd(fd, GSI);
  const nanosOf = (send: () => void) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) send();
    return ((performance.now() - start) * 1e6) / count;
  };
  const call = nanosOf(() => vm.signalMsi(0xfee0_0000, VECTOR));
  const irqfd = nanosOf(() => system.host.signalEvent(fd));
  system.host.close(fd);
  return { call, irqfd };
}

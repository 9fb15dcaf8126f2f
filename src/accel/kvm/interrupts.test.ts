/** Interrupts and event counters on /dev/kvm, seen by guests of a few instructions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IRQCHIP } from './structures.ts';
import { CODE, enterLongMode, kvmMissing, runExits, type TinyGuest, tinyGuest } from './testing/tiny-guest.ts';

const skip = kvmMissing;
const HLT = 0xf4;
const HANDLER = 0x1800;
const VECTOR = 0x24;

/** STI, then reads of a port until a handler has run; the handler writes `0x55` to port 80h. */
const WAIT_FOR_INTERRUPT = [0xfb, 0xe4, 0x40, 0xeb, 0xfc]; // sti; l: in al, 40h; jmp l
const HANDLER_CODE = [0xb0, 0x55, 0xe6, 0x80, HLT]; // mov al, 55h; out 80h, al; hlt

function prepare(guest: TinyGuest, vector = VECTOR): void {
  guest.memory.set(HANDLER_CODE, HANDLER);
  const view = new DataView(guest.memory.buffer, guest.memory.byteOffset);
  view.setUint16(vector * 4, HANDLER, true);
  view.setUint16(vector * 4 + 2, 0, true);
}

function enableApic({ vcpu }: TinyGuest): void {
  const registers = vcpu.lapic();
  const SPURIOUS = 0xf0;
  registers[SPURIOUS] = 0xff;
  registers[SPURIOUS + 1] = 0x01;
  vcpu.setLapic(registers);
}

/** Runs until the handler's output is seen; `trigger` is called at the first read of the port. */
function awaitHandler(guest: TinyGuest, trigger: () => void): void {
  let triggered = false;
  const exits = runExits(
    guest.vcpu,
    ({ kind, address, write }) =>
      (kind === 'io' && address === 0x80 && write === true) || (kind !== 'io' && kind !== 'mmio'),
    () => {
      if (!triggered) trigger();
      triggered = true;
      return 0;
    },
  );
  assert.deepEqual(exits.at(-1), { kind: 'io', address: 0x80, size: 1, write: true, value: 0x55 });
}

test('KVM_INTERRUPT: an interrupt controller outside the kernel', { skip }, () => {
  using guest = tinyGuest(WAIT_FOR_INTERRUPT);
  prepare(guest);
  awaitHandler(guest, () => assert.equal(guest.vcpu.interrupt(VECTOR), true));
});

test('KVM_SIGNAL_MSI reaches the local APIC in the kernel', { skip }, () => {
  using guest = tinyGuest(WAIT_FOR_INTERRUPT, { irqchip: 'full' });
  prepare(guest);
  enableApic(guest);
  awaitHandler(guest, () => assert.equal(guest.vm.signalMsi(0xfee0_0000, VECTOR), true));
  assert.equal(guest.vm.signalMsi(0xfee7_7000, VECTOR), false); // no such CPU
});

test('split irqchip: messages, and no I/O APIC in the kernel', { skip }, () => {
  using guest = tinyGuest(WAIT_FOR_INTERRUPT, { irqchip: 'split' });
  prepare(guest);
  enableApic(guest);
  awaitHandler(guest, () => guest.vm.signalMsi(0xfee0_0000, VECTOR));
  assert.throws(() => guest.vm.irqchip(IRQCHIP.ioapic), { name: 'UserError', message: /GET_IRQCHIP/ });
});

test('KVM_IRQ_LINE through the I/O APIC', { skip }, () => {
  using guest = tinyGuest(WAIT_FOR_INTERRUPT, { irqchip: 'full' });
  prepare(guest);
  enableApic(guest);
  routePin(guest, 5);
  awaitHandler(guest, () => guest.vm.irqLine(5, true));
});

test('GSI routing: the same line to another pin, and to a message', { skip }, () => {
  for (const route of [
    { gsi: 7, kind: 'irqchip', chip: IRQCHIP.ioapic, pin: 11 },
    { gsi: 7, kind: 'msi', address: 0xfee0_0000, data: VECTOR },
  ] as const) {
    using guest = tinyGuest(WAIT_FOR_INTERRUPT, { irqchip: 'full' });
    prepare(guest);
    enableApic(guest);
    routePin(guest, 11);
    guest.vm.setRoutes([route]);
    awaitHandler(guest, () => guest.vm.irqLine(7, true));
  }
});

test('irqfd: a signalled counter is an interrupt, until it is unbound', { skip }, async () => {
  using guest = tinyGuest(WAIT_FOR_INTERRUPT, { irqchip: 'full' });
  prepare(guest);
  enableApic(guest);
  guest.vm.setRoutes([{ gsi: 30, kind: 'msi', address: 0xfee0_0000, data: VECTOR }]);
  const fd = guest.system.host.eventfd();
  guest.vm.bindIrqfd(fd, 30);
  awaitHandler(guest, () => guest.system.host.signalEvent(fd));
  guest.vm.unbindIrqfd(fd, 30);
  guest.system.host.close(fd);
});

test('ioeventfd: a write signals the counter and does not exit', { skip }, () => {
  // out 90h, al twice; mov [d000:10], al; out 91h, al exits
  using guest = tinyGuest([0xe6, 0x90, 0xe6, 0x90, 0xb8, 0x00, 0xd0, 0x8e, 0xd8, 0xa2, 0x10, 0x00, 0xe6, 0x91, HLT]);
  const { host } = guest.system;
  const [port, memory, other] = [host.eventfd(), host.eventfd(), host.eventfd()];
  assert.ok(guest.vm.bindIoeventfd(port, { address: 0x90, length: 1, pio: true }));
  assert.ok(guest.vm.bindIoeventfd(memory, { address: 0xd_0010, length: 0 }));
  assert.ok(!guest.vm.bindIoeventfd(other, { address: 0x90, length: 1, pio: true }));
  const exits = runExits(guest.vcpu);
  assert.deepEqual(
    exits.map(({ kind, address }) => [kind, address]),
    [
      ['io', 0x91],
      ['hlt', undefined],
    ],
  );
  assert.deepEqual([port, memory, other].map(host.takeEvent), [2, 1, 0]);
  guest.vm.unbindIoeventfd(port, { address: 0x90, length: 1, pio: true });
  for (const fd of [port, memory, other]) host.close(fd);
});

test('NMI', { skip }, () => {
  using guest = tinyGuest(WAIT_FOR_INTERRUPT, { irqchip: 'full' });
  prepare(guest, 2);
  awaitHandler(guest, () => guest.vcpu.nmi());
});

test('an interrupt in 64-bit mode goes through the IDT', { skip }, () => {
  using guest = tinyGuest(WAIT_FOR_INTERRUPT);
  enterLongMode(guest);
  guest.memory.set(HANDLER_CODE, HANDLER);
  const view = new DataView(guest.memory.buffer, guest.memory.byteOffset);
  // The processor reads the code segment again: a GDT with a 64-bit one at 10h. The gate is at vector × 16.
  view.setBigUint64(0x5010, 0x00af_9b00_0000_ffffn, true);
  view.setBigUint64(0x5018, 0x00cf_9300_0000_ffffn, true);
  view.setBigUint64(0x6000 + VECTOR * 16, (0x8e00n << 32n) | (0x10n << 16n) | BigInt(HANDLER), true);
  const sregs = guest.vcpu.sregs();
  guest.vcpu.setSregs({
    ...sregs,
    gdt: { ...sregs.gdt, base: 0x5000n, limit: 0x1f },
    idt: { ...sregs.idt, base: 0x6000n, limit: 0xfff },
  });
  awaitHandler(guest, () => guest.vcpu.interrupt(VECTOR));
  assert.ok(CODE < HANDLER);
});

/** I/O APIC pin → VECTOR, edge, to CPU 0. */
function routePin({ vm }: TinyGuest, pin: number): void {
  const chip = vm.irqchip(IRQCHIP.ioapic);
  const ENTRIES = 24;
  new DataView(chip.buffer, chip.byteOffset).setBigUint64(ENTRIES + pin * 8, BigInt(VECTOR), true);
  vm.setIrqchip(IRQCHIP.ioapic, chip);
}

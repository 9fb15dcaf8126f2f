/** The interrupt controllers and the timer chip in the kernel, as a board wires its lines to them. */

import { StateError } from '../../base/index.ts';
import type { Device, DeviceRecord, InterruptControllers, IrqLine, LocalApic } from '../../contract/index.ts';
import { IRQCHIP, picState } from './structures.ts';
import type { KvmVm, Route } from './vm.ts';

const IO_APIC_PINS = 24;
const PIC_INPUTS = 16;
/** GSIs 0 to 23 are the I/O APIC's pins, those from here on the 8259s' inputs: a board drives each for itself. */
const PIC_GSI_BASE = IO_APIC_PINS;
/** The kernel's timer chip drives GSI 0: input 0 of the 8259 and pin 2 of the I/O APIC (MADT override). */
const TIMER = { gsi: 0, pin: 2 } as const;

/** The lines of a PC that come through the kernel's controllers; more routes may follow them. */
function pcRoutes(): Route[] {
  const chip = (input: number) => ({ chip: input < 8 ? IRQCHIP.picMaster : IRQCHIP.picSlave, pin: input % 8 });
  const ioApic = Array.from({ length: IO_APIC_PINS }, (_, pin) => pin)
    .filter((pin) => pin !== TIMER.gsi)
    .map((pin): Route => ({ gsi: pin, kind: 'irqchip', chip: IRQCHIP.ioapic, pin }));
  const pic = Array.from({ length: PIC_INPUTS }, (_, input): Route => {
    return { gsi: PIC_GSI_BASE + input, kind: 'irqchip', ...chip(input) };
  });
  return [
    { gsi: TIMER.gsi, kind: 'irqchip', chip: IRQCHIP.picMaster, pin: 0 },
    { gsi: TIMER.gsi, kind: 'irqchip', chip: IRQCHIP.ioapic, pin: TIMER.pin },
    ...ioApic,
    ...pic,
  ];
}

/**
 * 8259s, I/O APIC, 8254 and local APICs in the kernel; before the first vCPU is made.
 * @param elcr which 8259 inputs are level triggered at power-up, a bit an input
 */
export function kernelIrqchip(vm: KvmVm, elcr: number): InterruptControllers {
  vm.createIrqchip();
  vm.createPit();
  vm.setRoutes(pcRoutes());
  const line = (gsi: number): IrqLine => {
    let now = false;
    return {
      set(level) {
        if (level !== now) vm.irqLine(gsi, level);
        now = level;
      },
    };
  };
  return {
    pic: (irq) => line(PIC_GSI_BASE + irq),
    ioApic: (pin) => (pin === TIMER.gsi ? { set() {} } : line(pin)),
    msi: { send: (address, data) => void vm.signalMsi(address, data) },
    devices: [chips(vm, elcr), pit(vm)],
    apic: noLocalApic,
  };
}

/** The three chips as they are at power-up, captured before the guest runs. */
function chips(vm: KvmVm, elcr: number): Device {
  const ids = [IRQCHIP.picMaster, IRQCHIP.picSlave, IRQCHIP.ioapic];
  const first = ids.map((id) => vm.irqchip(id));
  for (const id of [IRQCHIP.picMaster, IRQCHIP.picSlave]) {
    const state = picState.decode(first[id]);
    first[id].set(picState.encode({ ...state, elcr: (elcr >>> (id * 8)) & state.elcrMask }));
  }
  const write = (states: readonly Uint8Array[]) => {
    for (const id of ids) vm.setIrqchip(id, states[id]);
  };
  write(first);
  return {
    name: 'kvm-irqchip',
    reset: () => write(first),
    snapshot: () => ({ chips: ids.map((id) => vm.irqchip(id)) }),
    restore(record: DeviceRecord) {
      const { chips: states } = record;
      if (!Array.isArray(states) || states.length !== ids.length || !states.every((one) => one instanceof Uint8Array))
        throw new StateError('chips', 'the state of three chips', states);
      write(states);
    },
  };
}

function pit(vm: KvmVm): Device {
  const first = vm.pit();
  return {
    name: 'kvm-pit',
    reset: () => vm.setPit(first),
    snapshot: () => ({ state: vm.pit() as unknown as DeviceRecord, clock: vm.clock() }),
    restore(record: DeviceRecord) {
      vm.setClock(record.clock as bigint);
      vm.setPit(record.state as unknown as ReturnType<KvmVm['pit']>);
    },
  };
}

/** The local APICs are the kernel's: nobody asks this one. */
const noLocalApic: LocalApic = {
  pendingVector: () => -1,
  acknowledge: () => 0xff,
  readBase: () => ({ low: 0, high: 0 }),
  writeBase: () => false,
  readTpr: () => 0,
  writeTpr() {},
  readX2apic: () => undefined,
  writeX2apic: () => false,
  readTscDeadline: () => ({ low: 0, high: 0 }),
  writeTscDeadline() {},
  reset() {},
};

/** The interrupt controllers and the timer chip in the kernel, as a board wires its lines to them. */
import type {
  AcceleratedChips,
  AcceleratedLocalApics,
  ExternalInterrupts,
  IrqLine,
  LocalApic,
  SplitInterruptControllers,
  WholeInterruptControllers,
} from '../../contract/index.ts';
import { fromKvmIoApic, fromKvmPic, fromKvmPit, toKvmIoApic, toKvmPic, toKvmPit } from './chips.ts';
import { IRQCHIP, picState } from './structures.ts';
import type { KvmVm, Route } from './vm.ts';

const IO_APIC_PINS = 24;
const PIC_INPUTS = 16;
const PIC_CHIP_INPUTS = 8;
/** GSIs 0 to 23 are the I/O APIC's pins, those from here on the 8259s' inputs: a board drives each for itself. */
const PIC_GSI_BASE = IO_APIC_PINS;
/** The kernel's timer chip drives GSI 0: input 0 of the 8259 and pin 2 of the I/O APIC (MADT override). */
const TIMER = { gsi: 0, pin: 2 } as const;

/**
 * The lines of a PC that come through the kernel's controllers. Each input is one GSI's alone: by the last route to it the
 * kernel finds who is told of its acknowledgement, and a timer that is not told of any interrupts once.
 */
function pcRoutes(): Route[] {
  const chip = (input: number) => ({ chip: input < 8 ? IRQCHIP.picMaster : IRQCHIP.picSlave, pin: input % 8 });
  const ioApic = Array.from({ length: IO_APIC_PINS }, (_, pin) => pin)
    .filter((pin) => pin !== TIMER.gsi && pin !== TIMER.pin)
    .map((pin): Route => ({ gsi: pin, kind: 'irqchip', chip: IRQCHIP.ioapic, pin }));
  const pic = Array.from({ length: PIC_INPUTS }, (_, input): Route => {
    return { gsi: PIC_GSI_BASE + input, kind: 'irqchip', ...chip(input) };
  }).filter(({ gsi }) => gsi !== PIC_GSI_BASE);
  return [
    { gsi: TIMER.gsi, kind: 'irqchip', chip: IRQCHIP.picMaster, pin: 0 },
    { gsi: TIMER.gsi, kind: 'irqchip', chip: IRQCHIP.ioapic, pin: TIMER.pin },
    ...ioApic,
    ...pic,
  ];
}

/** The kernel's timer chip drives these by pulses of its own: they are no line of a board's. */
const TIMER_INPUTS = { pic: 1 << 0, ioApic: 1 << TIMER.pin } as const;

/** What would be the timer's line of a board that has one. */
const TIMER_LINE: IrqLine = { set() {} };

/** What is there of the local APICs, which come later, with the CPUs. */
export type LocalApics = Omit<AcceleratedLocalApics, 'cpus'>;

/**
 * 8259s, I/O APIC, 8254 and local APICs in the kernel; before the first vCPU is made.
 * @param elcr which 8259 inputs are level triggered at power-up, a bit an input
 */
export function kernelIrqchip(vm: KvmVm, elcr: number, cpus: number, apics: LocalApics): WholeInterruptControllers {
  vm.createIrqchip();
  vm.createPit();
  vm.setRoutes(pcRoutes());
  const levels = new Map<number, boolean>();
  const line = (gsi: number): IrqLine => ({
    set(level) {
      if (level === (levels.get(gsi) ?? false)) return;
      levels.set(gsi, level);
      vm.irqLine(gsi, level);
    },
  });
  return {
    kind: 'whole',
    pic: (irq) => (irq === 0 ? TIMER_LINE : line(PIC_GSI_BASE + irq)),
    ioApic: (pin) => (pin === TIMER.gsi || pin === TIMER.pin ? TIMER_LINE : line(pin)),
    msi: { send: (address, data) => void vm.signalMsi(address, data) },
    chips: { cpus, ...apics, ...kernelChips(vm, elcr, levels) },
    apic: noLocalApic,
  };
}

/** What a CPU's thread asks of controllers outside the kernel. */
export interface OutsideControllers {
  readonly external: ExternalInterrupts;
  onEoi(vector: number): void;
}

/**
 * Local APICs in the kernel alone; before the first vCPU is made.
 * @param connect given the board's controllers, once
 * @param request the 8259s may have an interrupt for the first CPU
 */
export function splitIrqchip(
  vm: KvmVm,
  apics: AcceleratedLocalApics,
  { connect, request }: { connect(outside: OutsideControllers): void; request(): void },
): SplitInterruptControllers {
  vm.splitIrqchip(IO_APIC_PINS);
  let told = '';
  return {
    kind: 'split',
    msi: { send: (address, data) => void vm.signalMsi(address, data) },
    external: {
      set(level) {
        if (level) request();
      },
    },
    localApics: apics,
    apic: noLocalApic,
    connect: (external, onEoi) => connect({ external, onEoi }),
    // From these the kernel knows of which vectors' ends to tell.
    setIoApicMessages(messages) {
      const routes = messages.flatMap((message, gsi): Route[] => (message ? [{ gsi, kind: 'msi', ...message }] : []));
      const text = JSON.stringify(routes);
      if (text === told) return;
      told = text;
      vm.setRoutes(routes);
    },
  };
}

const CHIPS = [IRQCHIP.picMaster, IRQCHIP.picSlave, IRQCHIP.ioapic] as const;
const PICS = [IRQCHIP.picMaster, IRQCHIP.picSlave] as const;

/** @param levels of the board's lines, by GSI */
function kernelChips(
  vm: KvmVm,
  elcr: number,
  levels: Map<number, boolean>,
): Omit<AcceleratedChips, 'cpus' | keyof LocalApics> {
  // As they are at power-up, before the guest runs.
  const first = CHIPS.map((id) => vm.irqchip(id));
  for (const id of PICS) {
    const state = picState.decode(first[id]);
    first[id].set(picState.encode({ ...state, elcr: (elcr >>> (id * 8)) & state.elcrMask }));
    vm.setIrqchip(id, first[id]);
  }
  const firstPit = vm.pit();
  const remember = (gsiBase: number, lines: number, count: number) => {
    for (let input = 0; input < count; input++) levels.set(gsiBase + input, ((lines >>> input) & 1) !== 0);
  };
  return {
    reset() {
      for (const id of CHIPS) vm.setIrqchip(id, first[id]);
      vm.setPit(firstPit);
      levels.clear();
    },
    pics: () => PICS.map((id) => fromKvmPic(picState.decode(vm.irqchip(id)))),
    setPics(states) {
      for (const id of PICS) {
        const isMaster = id === IRQCHIP.picMaster;
        const lines = states[id].lines & ~(isMaster ? TIMER_INPUTS.pic : 0);
        const before = vm.irqchip(id);
        before.set(picState.encode(toKvmPic({ ...states[id], lines }, picState.decode(before), isMaster)));
        vm.setIrqchip(id, before);
        remember(PIC_GSI_BASE + id * PIC_CHIP_INPUTS, lines, PIC_CHIP_INPUTS);
      }
    },
    ioApic() {
      let lines = 0;
      for (let pin = 0; pin < IO_APIC_PINS; pin++) if (levels.get(pin)) lines |= 1 << pin;
      return fromKvmIoApic(vm.irqchip(IRQCHIP.ioapic), lines);
    },
    setIoApic(state) {
      const lines = (state.lines & ~TIMER_INPUTS.ioApic) >>> 0;
      remember(0, lines, IO_APIC_PINS);
      vm.setIrqchip(IRQCHIP.ioapic, toKvmIoApic({ ...state, lines }, vm.irqchip(IRQCHIP.ioapic)));
    },
    pit: () => fromKvmPit(vm.pit(), vm.host.monotonicNanos()),
    setPit: (state) => vm.setPit(toKvmPit(state, vm.pit())),
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

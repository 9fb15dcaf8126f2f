/** The PC's interrupt wiring: ISA lines to the 8259s and the IOAPIC, PCI lines to the IOAPIC and through the LPC bridge. */
import type { IrqLine } from '../../contract/index.ts';
import { fanOut, SharedLine } from '../interrupt/index.ts';
import { INTERRUPT_OVERRIDES, IO_APIC, IRQ, PCI_INTX_GSI_BASE } from './memory-map.ts';

const ISA_LINES = 16;
const PIRQ_LINES = 4;

/** An interrupt controller's inputs. */
interface Inputs {
  line(input: number): IrqLine;
}

export class InterruptWiring {
  /** The 8259 inputs; the LPC bridge drives some of them past the IOAPIC. */
  readonly #pic: readonly SharedLine[];
  readonly #ioApic: readonly SharedLine[];
  #pirq: readonly SharedLine[] = [];

  constructor(pic: Inputs, ioApic: Inputs) {
    const unconnected: IrqLine = { set() {} };
    const input = (irq: number) => (irq === IRQ.cascade ? unconnected : pic.line(irq));
    this.#pic = Array.from({ length: ISA_LINES }, (_, irq) => new SharedLine(input(irq)));
    this.#ioApic = Array.from({ length: IO_APIC.pins }, (_, pin) => new SharedLine(ioApic.line(pin)));
  }

  /** Joins the LPC bridge's PIRQ inputs to the IOAPIC pins of the same lines. */
  connectPirqs(pirq: (index: number) => IrqLine): void {
    this.#pirq = Array.from({ length: PIRQ_LINES }, (_, index) => {
      return new SharedLine(fanOut(this.#ioApic[PCI_INTX_GSI_BASE + index].driver(), pirq(index)));
    });
  }

  /** A driver of an ISA interrupt line, 0 to 15. */
  isa(irq: number): IrqLine {
    const override = INTERRUPT_OVERRIDES.find((entry) => entry.irq === irq);
    return fanOut(this.#pic[irq].driver(), this.#ioApic[override?.gsi ?? irq].driver());
  }

  /** A driver of an 8259 input alone. */
  picInput(irq: number): IrqLine {
    return this.#pic[irq].driver();
  }

  /** A driver of the interrupt pin (0 for INTA#) of a device on the root PCI bus. */
  pci(device: number, pin: number): IrqLine {
    return this.#pirq[(device + pin) % PIRQ_LINES].driver();
  }
}

/**
 * The PC's two 8259A interrupt controllers, the second on the first's input 2:
 * Intel 8259A datasheet, and the edge/level register (ELCR) of the ICH9
 * datasheet, 13.4.9.
 *
 * Two departures that guests cannot mind: an edge is kept until it is
 * acknowledged even when the line falls before, and the cascade is a level.
 */

import type { StateOf } from '../../base/index.ts';
import { array, bool, int, lowestBit, oneOf, stateTable, u8 } from '../../base/index.ts';
import type { BusDevice, Device, DeviceRecord, ExternalInterrupts, IrqLine } from '../../contract/index.ts';
import { byteWide } from '../bus/index.ts';

const CASCADE = 2;
const SPURIOUS = 7;
/** Inputs that may be level triggered: not 0, 1, 2, 8 and 13. */
const ELCR_WRITABLE = [0xf8, 0xde];

const ICW1 = { initialize: 0x10, needsIcw4: 0x01, single: 0x02 };
const ICW4 = { autoEoi: 0x02, specialFullyNested: 0x10 };
const OCW3 = { select: 0x08, changeMask: 0x40, mask: 0x20, poll: 0x04, changeRead: 0x02, readInService: 0x01 };
const OCW2 = {
  rotateAutoOff: 0,
  eoi: 1,
  specificEoi: 3,
  rotateAutoOn: 4,
  rotateEoi: 5,
  setPriority: 6,
  rotateSpecificEoi: 7,
};

const CHIP = stateTable({
  /** Input levels, one bit a line. */
  lines: u8(),
  /** Edges seen and not yet acknowledged. */
  edges: u8(),
  levelTriggered: u8(),
  mask: u8(),
  inService: u8(),
  vectorBase: u8(),
  /** The command word that the next write to the odd port is. */
  expects: oneOf('ocw1', 'icw2', 'icw3', 'icw4'),
  needsIcw4: bool(),
  single: bool(),
  autoEoi: bool(),
  rotateOnAutoEoi: bool(),
  specialMask: bool(),
  specialFullyNested: bool(),
  poll: bool(),
  readInService: bool(),
  /** The input with the highest priority now. */
  highestPriority: int(0, 7, 0),
});
export const PIC_STATE = stateTable({ chips: array(2, CHIP) });
type Chip = StateOf<typeof CHIP>;

export class Pic8259Pair implements Device, ExternalInterrupts {
  readonly name: string;
  /** Ports 20h, A0h and 4D0h, each two ports. */
  readonly master: BusDevice;
  readonly slave: BusDevice;
  readonly elcr: BusDevice;
  readonly #intr: IrqLine;
  readonly #initialElcr: number;
  #chips: Chip[];

  /**
   * @param options.intr the INTR pin
   * @param options.initialElcr ELCR as firmware would leave it, 16 bits
   */
  constructor(options: { name: string; intr: IrqLine; initialElcr: number }) {
    this.name = options.name;
    this.#intr = options.intr;
    this.#initialElcr = options.initialElcr;
    this.#chips = this.#initialChips();
    const ports = (index: number) =>
      byteWide({
        readByte: (offset) => this.#read(this.#chips[index], offset),
        writeByte: (offset, value) => this.#write(this.#chips[index], offset, value),
      });
    this.master = ports(0);
    this.slave = ports(1);
    this.elcr = byteWide({
      readByte: (offset) => this.#chips[offset].levelTriggered,
      writeByte: (offset, value) => {
        this.#chips[offset].levelTriggered = value & ELCR_WRITABLE[offset];
        this.#update();
      },
    });
  }

  /** Input 0 to 15; 2 is the cascade and belongs to the pair. */
  line(irq: number): IrqLine {
    const index = irq >> 3;
    const bit = 1 << (irq & 7);
    return {
      set: (level) => {
        const chip = this.#chips[index];
        if (((chip.lines & bit) !== 0) === level) return;
        chip.lines ^= bit;
        if (level && !(chip.levelTriggered & bit)) chip.edges |= bit;
        this.#update();
      },
    };
  }

  pending(): boolean {
    return this.#request(this.#chips[0]) >= 0;
  }

  acknowledge(): number {
    const [master, slave] = this.#chips;
    const irq = this.#take(master);
    const vector = irq === CASCADE ? slave.vectorBase + this.#take(slave) : master.vectorBase + irq;
    this.#update();
    return vector;
  }

  /** The inputs are not the chips' own: they stay as they are driven. */
  reset(): void {
    const lines = this.#chips.map((chip) => chip.lines);
    this.#chips = this.#initialChips();
    for (const [i, chip] of this.#chips.entries()) chip.lines = lines[i];
    this.#update();
  }

  snapshot(): DeviceRecord {
    return PIC_STATE.save({ chips: this.#chips });
  }

  restore(record: DeviceRecord): void {
    this.#chips = PIC_STATE.load(record).chips;
    this.#update();
  }

  #initialChips(): Chip[] {
    const { chips } = PIC_STATE.initial();
    for (const [i, chip] of chips.entries()) chip.levelTriggered = (this.#initialElcr >> (8 * i)) & ELCR_WRITABLE[i];
    return chips;
  }

  #read(chip: Chip, offset: number): number {
    if (chip.poll) {
      chip.poll = false;
      const irq = this.#request(chip) < 0 ? 0 : 0x80 | this.#take(chip);
      this.#update();
      return irq;
    }
    if (offset === 1) return chip.mask;
    return chip.readInService ? chip.inService : this.#requests(chip);
  }

  #write(chip: Chip, offset: number, value: number): void {
    if (offset === 1) writeOdd(chip, value);
    else if (value & ICW1.initialize) initialize(chip, value);
    else if (value & OCW3.select) writeOcw3(chip, value);
    else writeOcw2(chip, value);
    this.#update();
  }

  /** The slave's output is the master's input 2, the master's is the INTR pin. */
  #update(): void {
    const [master, slave] = this.#chips;
    const cascade = this.#request(slave) >= 0 ? 1 << CASCADE : 0;
    master.lines = (master.lines & ~(1 << CASCADE)) | cascade;
    this.#intr.set(this.#request(master) >= 0);
  }

  /** The interrupt request register. */
  #requests(chip: Chip): number {
    const levels = chip.levelTriggered | (chip === this.#chips[0] ? 1 << CASCADE : 0);
    return (chip.edges & ~levels) | (chip.lines & levels);
  }

  /** The input that the chip asks service for, or -1. */
  #request(chip: Chip): number {
    const asking = rank(chip, this.#requests(chip) & ~chip.mask);
    if (asking < 0) return -1;
    let blocking = chip.inService;
    if (chip.specialMask) blocking &= ~chip.mask;
    if (chip.specialFullyNested && chip === this.#chips[0]) blocking &= ~(1 << CASCADE);
    const serving = rank(chip, blocking);
    return serving < 0 || asking < serving ? fromRank(chip, asking) : -1;
  }

  /** One INTA cycle of one chip: the input now in service, or 7 when the request has gone (spurious). */
  #take(chip: Chip): number {
    const irq = this.#request(chip);
    if (irq < 0) return SPURIOUS;
    chip.edges &= ~(1 << irq);
    if (!chip.autoEoi) chip.inService |= 1 << irq;
    else if (chip.rotateOnAutoEoi) chip.highestPriority = (irq + 1) & 7;
    return irq;
  }
}

function initialize(chip: Chip, icw1: number): void {
  const { lines, levelTriggered } = chip;
  Object.assign(chip, CHIP.initial(), { lines, levelTriggered, vectorBase: chip.vectorBase });
  chip.needsIcw4 = (icw1 & ICW1.needsIcw4) !== 0;
  chip.single = (icw1 & ICW1.single) !== 0;
  chip.expects = 'icw2';
}

function writeOdd(chip: Chip, value: number): void {
  switch (chip.expects) {
    case 'ocw1':
      chip.mask = value;
      break;
    case 'icw2':
      chip.vectorBase = value & 0xf8;
      chip.expects = !chip.single ? 'icw3' : chip.needsIcw4 ? 'icw4' : 'ocw1';
      break;
    case 'icw3': // who cascades where is wired on a PC
      chip.expects = chip.needsIcw4 ? 'icw4' : 'ocw1';
      break;
    case 'icw4':
      chip.autoEoi = (value & ICW4.autoEoi) !== 0;
      chip.specialFullyNested = (value & ICW4.specialFullyNested) !== 0;
      chip.expects = 'ocw1';
  }
}

function writeOcw2(chip: Chip, value: number): void {
  const named = value & 7;
  const serving = rank(chip, chip.inService);
  const command = value >> 5;
  const rotates = command === OCW2.rotateEoi || command === OCW2.rotateSpecificEoi;
  if (command === OCW2.rotateAutoOn || command === OCW2.rotateAutoOff) {
    chip.rotateOnAutoEoi = command === OCW2.rotateAutoOn;
  } else if (command === OCW2.setPriority) {
    chip.highestPriority = (named + 1) & 7;
  } else if (command === OCW2.specificEoi || command === OCW2.rotateSpecificEoi) {
    chip.inService &= ~(1 << named);
    if (rotates) chip.highestPriority = (named + 1) & 7;
  } else if ((command === OCW2.eoi || command === OCW2.rotateEoi) && serving >= 0) {
    const irq = fromRank(chip, serving);
    chip.inService &= ~(1 << irq);
    if (rotates) chip.highestPriority = (irq + 1) & 7;
  }
}

function writeOcw3(chip: Chip, value: number): void {
  if (value & OCW3.changeMask) chip.specialMask = (value & OCW3.mask) !== 0;
  if (value & OCW3.poll) chip.poll = true;
  else if (value & OCW3.changeRead) chip.readInService = (value & OCW3.readInService) !== 0;
}

/** Priority (0 is highest) of the most urgent input in `inputs`, or -1. */
function rank(chip: Chip, inputs: number): number {
  const turned = (inputs >> chip.highestPriority) | (inputs << (8 - chip.highestPriority));
  return lowestBit(turned & 0xff);
}

function fromRank(chip: Chip, priority: number): number {
  return (priority + chip.highestPriority) & 7;
}

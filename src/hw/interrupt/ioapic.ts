/**
 * The I/O APIC: Intel 82093AA datasheet, with the EOI register of version 20h
 * (ICH9 datasheet, 13.5). Pins are active when driven true, whatever the
 * polarity bit says.
 */

import type { StateOf } from '../../base/index.ts';
import { array, stateTable, u8, u32 } from '../../base/index.ts';
import type { Device, DeviceRecord, IrqLine, MsiSink } from '../../contract/index.ts';
import type { DwordRegisters } from '../bus/index.ts';
import type { EoiListener } from './fabric.ts';
import { encodeMsi } from './message.ts';

const PINS = 24;
const VERSION = 0x20 | ((PINS - 1) << 16);
const OFFSET = { select: 0x00, window: 0x10, endOfInterrupt: 0x40 };
const INDEX = { id: 0, version: 1, arbitration: 2, redirection: 0x10 };

/** A redirection entry's lower half (3.2.4). */
const ENTRY = { logical: 0x0800, remoteIrr: 0x4000, level: 0x8000, masked: 0x1_0000 };
const ENTRY_WRITABLE = 0x1_afff;
const DESTINATION_WRITABLE = 0xff00_0000;

export const IO_APIC_STATE = stateTable({
  id: u8(),
  select: u8(),
  entries: array(PINS, u32(ENTRY.masked)),
  destinations: array(PINS, u32()),
  /** Pin levels, one bit a pin. */
  lines: u32(),
});

/** Undefined for a pin that is masked. */
type PinMessage = { readonly address: number; readonly data: number } | undefined;

export class IoApic implements Device, DwordRegisters, EoiListener {
  readonly name: string;
  readonly #sink: MsiSink;
  readonly #onMessages: (messages: readonly PinMessage[]) => void;
  #state: StateOf<typeof IO_APIC_STATE> = IO_APIC_STATE.initial();

  /** @param options.onMessages told what the pins send, by number, whenever that may have changed */
  constructor(options: { name: string; sink: MsiSink; onMessages?: (messages: readonly PinMessage[]) => void }) {
    this.name = options.name;
    this.#sink = options.sink;
    this.#onMessages = options.onMessages ?? (() => {});
  }

  /** Pin 0 to 23. */
  line(pin: number): IrqLine {
    const bit = 1 << pin;
    return {
      set: (level) => {
        const s = this.#state;
        if (((s.lines & bit) !== 0) === level) return;
        s.lines = (s.lines ^ bit) >>> 0;
        if (!level || s.entries[pin] & ENTRY.masked) return; // an edge at a masked pin is lost (3.2.4)
        if (s.entries[pin] & ENTRY.level) this.#serviceLevel(pin);
        else this.#send(pin);
      },
    };
  }

  /** A local APIC's EOI, or the guest's write of the EOI register. */
  endOfInterrupt(vector: number): void {
    const { entries } = this.#state;
    for (let pin = 0; pin < PINS; pin++) {
      if (!(entries[pin] & ENTRY.remoteIrr) || (entries[pin] & 0xff) !== vector) continue;
      entries[pin] = (entries[pin] & ~ENTRY.remoteIrr) >>> 0;
      this.#serviceLevel(pin);
    }
  }

  reset(): void {
    const { lines } = this.#state; // pins, driven from outside
    this.#state = { ...IO_APIC_STATE.initial(), lines };
    this.#tellMessages();
  }

  snapshot(): DeviceRecord {
    return IO_APIC_STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = IO_APIC_STATE.load(record);
    this.#tellMessages();
  }

  readDword(offset: number): number {
    if (offset === OFFSET.select) return this.#state.select;
    return offset === OFFSET.window ? this.#readIndexed(this.#state.select) : 0;
  }

  writeDword(offset: number, value: number): void {
    if (offset === OFFSET.select) this.#state.select = value & 0xff;
    else if (offset === OFFSET.window) this.#writeIndexed(this.#state.select, value);
    else if (offset === OFFSET.endOfInterrupt) this.endOfInterrupt(value & 0xff);
  }

  #readIndexed(index: number): number {
    const s = this.#state;
    if (index === INDEX.id || index === INDEX.arbitration) return s.id << 24;
    if (index === INDEX.version) return VERSION;
    const pin = (index - INDEX.redirection) >> 1;
    if (pin < 0 || pin >= PINS) return 0xffff_ffff;
    return index & 1 ? s.destinations[pin] : s.entries[pin];
  }

  #writeIndexed(index: number, value: number): void {
    const s = this.#state;
    if (index === INDEX.id) s.id = (value >>> 24) & 0x0f;
    const pin = (index - INDEX.redirection) >> 1;
    if (pin < 0 || pin >= PINS) return;
    if (index & 1) {
      s.destinations[pin] = (value & DESTINATION_WRITABLE) >>> 0;
      this.#tellMessages();
      return;
    }
    // An edge entry has no remote IRR: Linux clears a stuck one by switching to edge and back.
    const remoteIrr = value & ENTRY.level ? s.entries[pin] & ENTRY.remoteIrr : 0;
    s.entries[pin] = ((value & ENTRY_WRITABLE) | remoteIrr) >>> 0;
    this.#tellMessages();
    this.#serviceLevel(pin);
  }

  /** Sends a level interrupt if its pin asks and no earlier one is still being served. */
  #serviceLevel(pin: number): void {
    const s = this.#state;
    const entry = s.entries[pin];
    const asks = ((s.lines >>> pin) & 1) !== 0;
    if (!asks || (entry & (ENTRY.level | ENTRY.masked | ENTRY.remoteIrr)) !== ENTRY.level) return;
    s.entries[pin] = (entry | ENTRY.remoteIrr) >>> 0;
    this.#send(pin);
  }

  #send(pin: number): void {
    const { address, data } = this.#messageOf(pin);
    this.#sink.send(address, data);
  }

  #tellMessages(): void {
    const { entries } = this.#state;
    this.#onMessages(entries.map((entry, pin) => (entry & ENTRY.masked ? undefined : this.#messageOf(pin))));
  }

  #messageOf(pin: number): { address: number; data: number } {
    const entry = this.#state.entries[pin];
    return encodeMsi({
      destination: this.#state.destinations[pin] >>> 24,
      logical: (entry & ENTRY.logical) !== 0,
      delivery: (entry >>> 8) & 7,
      vector: entry & 0xff,
      level: (entry & ENTRY.level) !== 0,
    });
  }
}

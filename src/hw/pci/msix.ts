/**
 * MSI-X: a function's own table of interrupt messages in one of its BARs, and
 * the bits of those that wait while masked. PCI Local Bus 3.0, 6.8.2.
 */

import type { StateTable } from '../../base/index.ts';
import { array, bit, bool, InternalError, mergeBits, stateTable, u32 } from '../../base/index.ts';
import type { BusDevice, Device, DeviceRecord, MsiSink } from '../../contract/index.ts';
import { type RegisterSpec, registerWindow } from '../bus/index.ts';
import type { PciCapability } from './function.ts';

const CAPABILITY_ID = 0x11;
const VECTORS_MAX = 2048;
const ENTRY_BYTES = 16;
const MASKED = 1;
/** Bits of the message control word. */
const CONTROL = { masked: 14, enable: 15 };

interface MsixState {
  /** The enable and mask bits of the message control word. */
  control: number;
  addressLow: number[];
  addressHigh: number[];
  data: number[];
  vectorControl: number[];
  pending: boolean[];
}

export interface MsixOptions {
  readonly name: string;
  readonly vectors: number;
  /** The BAR that `device` is put at. */
  readonly barIndex: number;
  readonly sink: MsiSink;
}

export class Msix implements Device {
  readonly name: string;
  /** What the BAR shows: the table, then the pending bits. */
  readonly device: BusDevice;
  /** Size of the BAR, in bytes. */
  readonly barSize: number;
  readonly capability: PciCapability;
  readonly #vectors: number;
  readonly #sink: MsiSink;
  readonly #table: StateTable<MsixState>;
  #state: MsixState;

  constructor({ name, vectors, barIndex, sink }: MsixOptions) {
    if (vectors < 1 || vectors > VECTORS_MAX) throw new InternalError(`MSI-X with ${vectors} vectors`);
    this.name = name;
    this.#vectors = vectors;
    this.#sink = sink;
    const words = () => array(vectors, u32());
    this.#table = stateTable({
      control: u32(),
      addressLow: words(),
      addressHigh: words(),
      data: words(),
      vectorControl: array(vectors, u32(MASKED)),
      pending: array(vectors, bool()),
    });
    this.#state = this.#table.initial();
    const pendingOffset = Math.max(0x800, 2 ** Math.ceil(Math.log2(vectors * ENTRY_BYTES)));
    this.barSize = Math.max(0x1000, pendingOffset * 2);
    this.device = registerWindow(pendingOffset + Math.ceil(vectors / 32) * 4, [
      ...Array.from({ length: vectors }, (_, vector) => this.#entryRows(vector)).flat(),
      ...Array.from({ length: Math.ceil(vectors / 32) }, (_, word) => this.#pendingRow(word, pendingOffset)),
    ]);
    const body = new DataView(new ArrayBuffer(10));
    body.setUint16(0, vectors - 1, true);
    body.setUint32(2, barIndex, true);
    body.setUint32(6, pendingOffset | barIndex, true);
    const writable = Uint8Array.of(0, (1 << (CONTROL.masked - 8)) | (1 << (CONTROL.enable - 8)));
    this.capability = { id: CAPABILITY_ID, body: new Uint8Array(body.buffer), writable };
  }

  get enabled(): boolean {
    return bit(this.#state.control, CONTROL.enable);
  }

  /** Sends a vector's message, now or when it is unmasked. Nothing happens while MSI-X is off. */
  notify(vector: number): void {
    if (!this.enabled || vector >= this.#vectors) return;
    if (this.#isMasked(vector)) this.#state.pending[vector] = true;
    else this.#send(vector);
  }

  /** Takes over the message control word from the configuration space. */
  setControl(word: number): void {
    const control = word & ((1 << CONTROL.masked) | (1 << CONTROL.enable));
    if (control === this.#state.control) return;
    this.#state.control = control;
    for (let vector = 0; vector < this.#vectors; vector++) this.#flush(vector);
  }

  reset(): void {
    this.#state = this.#table.initial();
  }

  snapshot(): DeviceRecord {
    return this.#table.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = this.#table.load(record);
  }

  #isMasked(vector: number): boolean {
    return bit(this.#state.control, CONTROL.masked) || (this.#state.vectorControl[vector] & MASKED) !== 0;
  }

  #flush(vector: number): void {
    if (!this.enabled || this.#isMasked(vector) || !this.#state.pending[vector]) return;
    this.#state.pending[vector] = false;
    this.#send(vector);
  }

  /** A message beyond 4 GiB reaches no interrupt controller. */
  #send(vector: number): void {
    const { addressLow, addressHigh, data } = this.#state;
    if (addressHigh[vector] === 0) this.#sink.send(addressLow[vector], data[vector]);
  }

  #entryRows(vector: number): RegisterSpec[] {
    const word = (
      field: 'addressLow' | 'addressHigh' | 'data' | 'vectorControl',
      offset: number,
      writable: number,
    ) => ({
      name: `${field} ${vector}`,
      offset: vector * ENTRY_BYTES + offset,
      width: 4 as const,
      read: () => this.#state[field][vector],
      write: (value: number, mask: number) => {
        const words = this.#state[field];
        words[vector] = mergeBits(words[vector], mask & writable, value);
        this.#flush(vector);
      },
    });
    return [
      word('addressLow', 0, 0xffff_fffc),
      word('addressHigh', 4, 0xffff_ffff),
      word('data', 8, 0xffff_ffff),
      word('vectorControl', 12, MASKED),
    ];
  }

  /** Read-only: 32 vectors' pending bits. */
  #pendingRow(word: number, base: number): RegisterSpec {
    return {
      name: `pending ${word}`,
      offset: base + word * 4,
      width: 4,
      read: () => {
        let value = 0;
        for (let i = 0; i < 32; i++) if (this.#state.pending[word * 32 + i]) value |= 1 << i;
        return value >>> 0;
      },
    };
  }
}

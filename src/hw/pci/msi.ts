/**
 * MSI: a function's interrupt messages, described in its configuration space, with a mask bit for each.
 * PCI Local Bus 3.0, 6.8.1. All its state lies in the configuration space.
 */
import { bit, InternalError } from '../../base/index.ts';
import type { MsiSink } from '../../contract/index.ts';
import { readLittleEndian } from './config-space.ts';
import type { PciCapability } from './function.ts';

const CAPABILITY_ID = 0x05;
const VECTORS_MAX = 32;
/** Offsets in the capability; addresses have 64 bits here. */
const AT = { control: 2, addressLow: 4, addressHigh: 8, data: 12, mask: 16, pending: 20 } as const;
const CAPABILITY_BYTES = 24;
const CONTROL = { enable: 0, capableShift: 1, enabledShift: 4, wide: 0x80, maskable: 0x100 } as const;

export interface MsiOptions {
  /** A power of two up to 32. */
  readonly vectors: number;
  readonly sink: MsiSink;
  /** The function's configuration space. */
  readonly config: () => Uint8Array;
  /** Where the capability lies in it. */
  readonly offset: () => number;
}

export class Msi {
  readonly capability: PciCapability;
  readonly #options: MsiOptions;

  constructor(options: MsiOptions) {
    const capable = Math.log2(options.vectors);
    if (!Number.isInteger(capable) || options.vectors > VECTORS_MAX) {
      throw new InternalError(`MSI with ${options.vectors} vectors`);
    }
    this.#options = options;
    const body = new Uint8Array(CAPABILITY_BYTES - 2);
    new DataView(body.buffer).setUint16(
      AT.control - 2,
      (capable << CONTROL.capableShift) | CONTROL.wide | CONTROL.maskable,
      true,
    );
    const writable = new Uint8Array(CAPABILITY_BYTES - 2);
    writable[AT.control - 2] = (1 << CONTROL.enable) | (7 << CONTROL.enabledShift);
    writable.set([0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], AT.addressLow - 2);
    new DataView(writable.buffer).setUint32(AT.mask - 2, 2 ** options.vectors - 1, true);
    this.capability = { id: CAPABILITY_ID, body, writable };
  }

  get enabled(): boolean {
    return bit(this.#read(AT.control, 2), CONTROL.enable);
  }

  /** Sends a vector's message, now or when it is unmasked. Nothing happens while MSI is off. */
  notify(vector: number): void {
    if (!this.enabled) return;
    const granted = this.#granted();
    const shared = vector & (granted - 1); // 6.8.1.3: with fewer messages than vectors, some share
    if (bit(this.#read(AT.mask, 4), shared)) this.#writePending(this.#read(AT.pending, 4) | (1 << shared));
    else this.#send(shared, granted);
  }

  /** Call when the guest may have changed the capability. */
  update(): void {
    const waiting = this.enabled ? this.#read(AT.pending, 4) & ~this.#read(AT.mask, 4) : 0;
    if (waiting === 0) return;
    this.#writePending(this.#read(AT.pending, 4) & ~waiting);
    for (let vector = 0; vector < VECTORS_MAX; vector++) if (bit(waiting, vector)) this.#send(vector, this.#granted());
  }

  /** How many messages the guest has given. */
  #granted(): number {
    const log = (this.#read(AT.control, 2) >> CONTROL.enabledShift) & 7;
    return Math.min(2 ** log, this.#options.vectors);
  }

  /** A message beyond 4 GiB reaches no interrupt controller. */
  #send(vector: number, granted: number): void {
    if (this.#read(AT.addressHigh, 4) !== 0) return;
    this.#options.sink.send(this.#read(AT.addressLow, 4), (this.#read(AT.data, 2) & ~(granted - 1)) | vector);
  }

  #read(at: number, size: 2 | 4): number {
    return readLittleEndian(this.#options.config(), this.#options.offset() + at, size);
  }

  #writePending(value: number): void {
    const config = this.#options.config();
    for (let i = 0; i < 4; i++) config[this.#options.offset() + AT.pending + i] = value >>> (i * 8);
  }
}

/**
 * QEMU's firmware configuration device: QEMU docs/specs/fw_cfg.rst. Firmware
 * and kernels read numbered items through a selector and a data port, or have
 * them copied to memory (DMA). Items are read-only.
 */

import { InternalError, int, stateTable, u16, u32 } from '../../base/index.ts';
import type { BusDevice, Device, DeviceRecord, GuestMemory } from '../../contract/index.ts';

const KEY = { signature: 0x00, features: 0x01, directory: 0x19, firstFile: 0x20 };
/** The data port and DMA. */
const FEATURES = 0x03;
const NAME_BYTES = 56;
const ENTRY_BYTES = 64;
const MAX_FILES = 256;
const OFFSET = { selector: 0, data: 1, dmaHigh: 4, dmaLow: 8 };
/** Offsets 4 to 11 read as "QEMU CFG". */
const DMA_SIGNATURE = ascii('QEMU CFG');
const DMA_CONTROL = { error: 0x01, read: 0x02, skip: 0x04, select: 0x08, write: 0x10 };
const DMA_REQUEST_BYTES = 16;
const NO_ITEM = new Uint8Array(0);

const STATE = stateTable({
  key: u16(),
  /** How much of the selected item has been read. */
  offset: int(0, Number.MAX_SAFE_INTEGER, 0),
  dmaHigh: u32(),
});

export class FwCfg implements Device, BusDevice {
  readonly name = 'fw-cfg';
  readonly #memory: GuestMemory;
  readonly #items = new Map<number, Uint8Array>();
  readonly #files: { name: string; key: number; size: number }[] = [];
  readonly #writable = new Set<number>();
  #state = STATE.initial();

  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.setItem(KEY.signature, ascii('QEMU'));
    this.setItem(KEY.features, Uint8Array.of(FEATURES, 0, 0, 0));
    this.setItem(KEY.directory, directory(this.#files));
  }

  /** Before the machine starts: gives a numbered item its bytes. */
  setItem(key: number, bytes: Uint8Array): void {
    this.#items.set(key, bytes);
  }

  /** Before the machine starts: adds a named file, e.g. `etc/e820`. @param isWritable the guest may change `bytes`, by DMA */
  addFile(name: string, bytes: Uint8Array, isWritable = false): void {
    const fits = name.length < NAME_BYTES && this.#files.length < MAX_FILES;
    if (!fits || this.#files.some((file) => file.name === name)) throw new InternalError(`fw_cfg: cannot add ${name}`);
    const key = KEY.firstFile + this.#files.length;
    this.#files.push({ name, key, size: bytes.length });
    this.#items.set(key, bytes);
    if (isWritable) this.#writable.add(key);
    this.setItem(KEY.directory, directory(this.#files));
  }

  reset(): void {
    this.#state = STATE.initial();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
  }

  read(offset: number, size: number): number {
    if (offset === OFFSET.data && size === 1) return this.#next();
    let value = 0;
    for (let i = 0; i < size; i++) value |= (DMA_SIGNATURE[offset + i - OFFSET.dmaHigh] ?? 0) << (i * 8);
    return value >>> 0;
  }

  /** The DMA address is big-endian: its low half starts the transfer. */
  write(offset: number, size: number, value: number): void {
    if (offset === OFFSET.selector && size <= 2) this.#select(value);
    else if (offset === OFFSET.dmaHigh && size === 4) this.#state.dmaHigh = swapBytes(value);
    else if (offset === OFFSET.dmaLow && size === 4) {
      const address = this.#state.dmaHigh * 2 ** 32 + swapBytes(value);
      this.#state.dmaHigh = 0;
      this.#transfer(address);
    }
  }

  #select(key: number): void {
    this.#state.key = key;
    this.#state.offset = 0;
  }

  #item(): Uint8Array {
    return this.#items.get(this.#state.key) ?? NO_ITEM;
  }

  /** Past an item's end there are zeros. */
  #next(): number {
    const item = this.#item();
    return this.#state.offset < item.length ? item[this.#state.offset++] : 0;
  }

  /** Runs the request at `address`: control, length and a 64-bit address, big-endian; the control word says how it went. */
  #transfer(address: number): void {
    const request = this.#memory.view(address, DMA_REQUEST_BYTES);
    if (!request) return;
    const fields = new DataView(request.buffer, request.byteOffset, DMA_REQUEST_BYTES);
    const control = fields.getUint32(0);
    const length = fields.getUint32(4);
    const target = fields.getUint32(8) * 2 ** 32 + fields.getUint32(12);
    if (control & DMA_CONTROL.select) this.#select(control >>> 16);
    fields.setUint32(0, this.#copy(control, length, target) ? 0 : DMA_CONTROL.error);
    this.#memory.written(address, DMA_REQUEST_BYTES);
  }

  /** All of the bytes, or none. */
  #write(length: number, source: number): boolean {
    const { key, offset } = this.#state;
    const item = this.#item();
    const view = this.#memory.view(source, length);
    if (!this.#writable.has(key) || offset + length > item.length || !view) return false;
    item.set(view, offset);
    this.#state.offset += length;
    return true;
  }

  #copy(control: number, length: number, target: number): boolean {
    if (control & DMA_CONTROL.write && !(control & DMA_CONTROL.read)) return this.#write(length, target);
    const rest = this.#item().subarray(this.#state.offset, this.#state.offset + length);
    if (control & DMA_CONTROL.read && length > 0) {
      const view = this.#memory.view(target, length);
      if (!view) return false;
      view.set(rest);
      view.fill(0, rest.length);
      this.#memory.written(target, length);
    }
    if (control & (DMA_CONTROL.read | DMA_CONTROL.skip)) this.#state.offset += rest.length;
    return true;
  }
}

/** The file directory: a count, then size, key and name of each; big-endian. */
function directory(files: readonly { name: string; key: number; size: number }[]): Uint8Array {
  const bytes = new Uint8Array(4 + files.length * ENTRY_BYTES);
  const fields = new DataView(bytes.buffer);
  fields.setUint32(0, files.length);
  for (const [i, file] of files.entries()) {
    const at = 4 + i * ENTRY_BYTES;
    fields.setUint32(at, file.size);
    fields.setUint16(at + 4, file.key);
    bytes.set(ascii(file.name), at + 8);
  }
  return bytes;
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function swapBytes(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}

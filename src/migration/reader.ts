/** A snapshot that arrives in pieces of any size. */
import { InternalError } from '../base/index.ts';
import type { DeviceRecord } from '../contract/index.ts';
import {
  checkPreamble,
  checksumOf,
  damaged,
  decodeHeader,
  HEADER_BYTES,
  type Header,
  isRam,
  KIND,
  PAGE_BYTES,
  PREAMBLE_BYTES,
  paddingBefore,
  payloadChecksum,
} from './format.ts';
import { type DeviceSection, deviceFromText, recordFromText } from './record-text.ts';

/** RAM at a guest physical address, to be written to; undefined where the machine has none. */
export type RamView = (address: number, length: number) => Uint8Array | undefined;

export type Checksum = (bytes: Uint8Array) => number;

/** More than any machine has. */
const DEVICES_MAX = 4096;

type Phase =
  | { readonly kind: 'preamble' | 'header' | 'done' }
  | { readonly kind: 'padding' | 'payload'; readonly header: Header; readonly into: Uint8Array };

/**
 * Takes bytes with `feed`. Before RAM it stops until `connectMemory` has been called: by then `state` and `blobs`
 * say what machine it is. RAM is written as it comes, so the machine is whole only when `isDone`.
 * Errors are UserErrors; after one the reader is of no more use.
 */
export class SnapshotReader {
  #phase: Phase = { kind: 'preamble' };
  /** What has come of the preamble, header, padding or payload at hand. */
  #have = 0;
  /** From the start of the snapshot. */
  #offset = 0;
  #sections = 0;
  #state: DeviceRecord | undefined;
  #version = 0;
  readonly #blobs: Uint8Array[] = [];
  readonly #devices: DeviceSection[] = [];
  #ramView: RamView | undefined;
  #ramChecksum: Checksum | undefined;
  /** The first section after the blobs, while there is no RAM for it. */
  #waiting: Header | undefined;
  readonly #scratch = new Uint8Array(HEADER_BYTES);

  get state(): DeviceRecord {
    if (this.#state === undefined) throw damaged('its state, which is missing,');
    return this.#state;
  }

  get blobs(): readonly Uint8Array[] {
    return this.#blobs;
  }

  /** In the order in which they came. */
  get devices(): readonly DeviceSection[] {
    return this.#devices;
  }

  /** Of the format. */
  get version(): number {
    return this.#version;
  }

  /** What comes next needs the machine's RAM. */
  get isWaitingForMemory(): boolean {
    return this.#waiting !== undefined;
  }

  /** @param checksum of the format, `known` where RAM is known to be right */
  connectMemory(ram: RamView, checksum: Checksum | 'known' = checksumOf): void {
    this.#ramView = ram;
    this.#ramChecksum = checksum === 'known' ? undefined : checksum;
    const header = this.#waiting;
    this.#waiting = undefined;
    if (header !== undefined) this.#phase = this.#begin(header);
    this.#advance();
  }

  /** Everything has come and was right. */
  get isDone(): boolean {
    return this.#phase.kind === 'done';
  }

  /** @returns how many of the bytes were taken: all of them, until it is done or waits for memory */
  feed(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length && !this.isDone && !this.isWaitingForMemory) {
      const { target } = this;
      const piece = bytes.subarray(at, at + target.length);
      target.set(piece);
      at += piece.length;
      this.filled(piece.length);
    }
    return at;
  }

  /** Where the next bytes belong, to be filled from its beginning on; empty when it is done or waits for memory. */
  get target(): Uint8Array {
    if (this.isDone || this.isWaitingForMemory) return this.#scratch.subarray(0, 0);
    return this.#into().subarray(this.#have, this.#wanted());
  }

  /** As many bytes of `target` are there now. */
  filled(count: number): void {
    this.#have += count;
    this.#offset += count;
    this.#advance();
  }

  /**
   * A piece of RAM or a file that begins with the next byte, and has its place in memory and in the snapshot at the same
   * distance from a multiple of 4 KiB; nothing else lies in its pages. Whoever puts it there without reading it says so
   * by `mapped`. Undefined where something else comes next.
   */
  get mappable(): Uint8Array | undefined {
    const phase = this.#phase;
    if (phase.kind !== 'payload' || this.#have > 0) return undefined;
    const { kind } = phase.header;
    return kind === KIND.ram || kind === KIND.blob ? phase.into : undefined;
  }

  /** `mappable` is there. Its checksum is not looked at: the snapshot is known to be whole. */
  mapped(): void {
    const phase = this.#phase;
    if (phase.kind !== 'payload') throw new InternalError('nothing to map');
    this.#offset += phase.into.length;
    this.#keep(phase.header, phase.into);
    this.#phase = { kind: 'header' };
    this.#advance();
  }

  #into(): Uint8Array {
    const phase = this.#phase;
    return phase.kind === 'payload' || phase.kind === 'padding' ? phase.into : this.#scratch;
  }

  /** The bytes have ended. @throws UserError when they ended too early */
  end(): void {
    if (!this.isDone) throw damaged(`its end, which is missing after ${this.#offset} bytes,`);
  }

  #wanted(): number {
    const phase = this.#phase;
    switch (phase.kind) {
      case 'preamble':
        return PREAMBLE_BYTES;
      case 'header':
        return HEADER_BYTES;
      case 'padding':
      case 'payload':
        return phase.into.length;
      case 'done':
        return 0;
    }
  }

  /** Goes on to what follows, over everything that is complete. */
  #advance(): void {
    while (this.#phase.kind !== 'done' && !this.isWaitingForMemory && this.#have === this.#wanted()) {
      this.#have = 0;
      this.#phase = this.#next(this.#phase);
    }
  }

  #next(phase: Phase): Phase {
    switch (phase.kind) {
      case 'preamble':
        this.#version = checkPreamble(this.#scratch);
        return { kind: 'header' };
      case 'header': {
        const header = decodeHeader(this.#scratch);
        if (this.#version === 1 && header.kind > KIND.end) throw damaged(`the kind ${header.kind} of a section`);
        if (this.#ramView !== undefined || header.kind === KIND.state || header.kind === KIND.blob)
          return this.#begin(header);
        this.#waiting = header;
        return phase;
      }
      case 'padding':
        if (phase.into.some((byte) => byte !== 0)) throw damaged('what stands before a piece of RAM');
        return { kind: 'payload', header: phase.header, into: this.#ram(phase.header) };
      case 'payload':
        this.#finish(phase.header, phase.into);
        return { kind: 'header' };
      case 'done':
        return phase;
    }
  }

  #begin(header: Header): Phase {
    if (header.kind === KIND.end) {
      if (header.length !== this.#sections || this.#state === undefined) throw damaged('the number of its sections');
      return { kind: 'done' };
    }
    if ((header.kind === KIND.state) === (this.#state !== undefined)) throw damaged('the order of its sections');
    this.#sections++;
    switch (header.kind) {
      case KIND.zero:
        this.#ram(header).fill(0);
        return { kind: 'header' };
      case KIND.ram:
        this.#ram(header);
        return { kind: 'padding', header, into: new Uint8Array(paddingBefore(this.#offset)) };
      case KIND.page:
        return { kind: 'payload', header, into: this.#ram(header) };
      case KIND.blob:
        return { kind: 'payload', header, into: ownPages(header.length, this.#offset % PAGE_BYTES) };
      default:
        return { kind: 'payload', header, into: new Uint8Array(header.length) };
    }
  }

  #ram({ address, length }: Header): Uint8Array {
    const view = this.#ramView?.(address, length);
    if (view?.length !== length)
      throw damaged(`the RAM at 0x${address.toString(16)}, which the machine does not have,`);
    return view;
  }

  #finish(header: Header, payload: Uint8Array): void {
    const isOfRam = isRam(header.kind) && this.#version > 1;
    const checksum = isOfRam ? this.#ramChecksum?.(payload) : payloadChecksum(payload, this.#version);
    if (checksum !== undefined && checksum !== header.checksum) throw damaged('the checksum of a section');
    this.#keep(header, payload);
  }

  #keep({ kind }: Header, payload: Uint8Array): void {
    if (isRam(kind)) return;
    if (kind === KIND.state) this.#state = recordFromText(new TextDecoder().decode(payload));
    else if (kind === KIND.device) this.#addDevice(deviceFromText(new TextDecoder().decode(payload)));
    else if (kind === KIND.blob) this.#blobs.push(payload);
  }

  #addDevice(device: DeviceSection): void {
    if (this.#devices.length >= DEVICES_MAX) throw damaged('the number of its devices');
    if (this.#devices.some(({ name }) => name === device.name))
      throw damaged(`its device ${device.name}, there twice,`);
    this.#devices.push(device);
  }
}

const WASM_PAGE_BYTES = 0x1_0000;

/** Zeros in pages that hold nothing else, `distance` behind the first one's beginning; threads share them. */
function ownPages(length: number, distance: number): Uint8Array {
  const pages = Math.ceil((distance + length) / WASM_PAGE_BYTES);
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return new Uint8Array(buffer, distance, length);
}

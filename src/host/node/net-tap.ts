/** A tap device of Linux as a link (Documentation/networking/tuntap.rst): frames to and from the host's own network. */
import { closeSync, constants, openSync, writevSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { UserError } from '../../base/index.ts';
import type { NetLink, NetOffloads, NetReceiver } from '../../contract/index.ts';
import { type Ffi, loadFfi } from './ffi.ts';
import { TAP_WORD, type TapThreadData } from './net-tap-protocol.ts';
import { decodeVnetHeader, encodeVnetHeader, VNET_HEADER_BYTES } from './net-vnet-header.ts';

export interface TapLink extends NetLink {
  /** The interface's name, which the kernel chose when none was asked for. */
  readonly name: string;
  /** Resolves when the device is given up. */
  close(): Promise<void>;
}

/** linux/if_tun.h */
const TUNSETIFF = 0x4004_54can;
const TUNSETOFFLOAD = 0x4004_54d0n;
const TUNSETVNETHDRSZ = 0x4004_54d8n;
const IFF = { tap: 0x0002, noPacketInfo: 0x1000, vnetHeader: 0x4000 } as const;
const TUN_F = { checksum: 1n, tcp4: 2n, tcp6: 4n } as const;
const NAME_MAX_BYTES = 15;
const IFREQ_BYTES = 40;
const TAKES: NetOffloads = { checksum: true, tcp4: true, tcp6: true };

/** @throws UserError when the device cannot be had, e.g. without the right to */
export function openTap(name = ''): TapLink {
  if (!/^[\w.%-]*$/.test(name) || name.length > NAME_MAX_BYTES) {
    throw new UserError(`tap: "${name}" is not an interface's name of up to ${NAME_MAX_BYTES} letters`);
  }
  const ffi = process.platform === 'linux' ? loadFfi() : undefined;
  if (ffi === undefined) throw new UserError('tap: needs Linux and a Node with node:ffi');
  const ioctls = tunIoctls(ffi);
  let fd: number;
  try {
    fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    throw new UserError(`tap: cannot open /dev/net/tun: ${(error as Error).message}`);
  }
  const given = ioctls.setInterface(fd, name);
  if (given === undefined) {
    closeSync(fd);
    throw new UserError(
      `tap: cannot have interface ${name || 'of any name'}: it needs the right to manage networks, and a tap device that nobody else uses`,
    );
  }
  return new Tap(fd, given, (offloads) => ioctls.setOffloads(fd, offloads));
}

function tunIoctls(ffi: Ffi) {
  const byPointer = ffi.dlopen(null, {
    ioctl: { arguments: ['int32', 'uint64', 'buffer'], return: 'int32' },
  }).functions;
  const byValue = ffi.dlopen(null, { ioctl: { arguments: ['int32', 'uint64', 'uint64'], return: 'int32' } }).functions;
  return {
    /** The name given; undefined when refused. */
    setInterface(fd: number, name: string): string | undefined {
      const request = new Uint8Array(IFREQ_BYTES);
      request.set(Buffer.from(name));
      new DataView(request.buffer).setUint16(16, IFF.tap | IFF.noPacketInfo | IFF.vnetHeader, true);
      if (byPointer.ioctl(fd, TUNSETIFF, request) !== 0) return undefined;
      byPointer.ioctl(fd, TUNSETVNETHDRSZ, new Uint8Array(Int32Array.of(VNET_HEADER_BYTES).buffer));
      return Buffer.from(request.subarray(0, request.indexOf(0))).toString();
    },
    /** What the kernel may leave undone in frames to us. */
    setOffloads(fd: number, { checksum, tcp4, tcp6 }: NetOffloads): void {
      const flags = checksum ? TUN_F.checksum | (tcp4 ? TUN_F.tcp4 : 0n) | (tcp6 ? TUN_F.tcp6 : 0n) : 0n;
      byValue.ioctl(fd, TUNSETOFFLOAD, flags);
    },
  };
}

class Tap implements TapLink {
  readonly takes = TAKES;
  readonly name: string;
  readonly #fd: number;
  readonly #setOffloads: (offloads: NetOffloads) => void;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #thread: Worker;
  readonly #waiting: Uint8Array[] = [];
  #receiver: NetReceiver | undefined;
  #offloads: NetOffloads | undefined;
  #isClosed = false;

  constructor(fd: number, name: string, setOffloads: (offloads: NetOffloads) => void) {
    this.#fd = fd;
    this.name = name;
    this.#setOffloads = setOffloads;
    const shared = new SharedArrayBuffer(8);
    this.#words = new Int32Array(shared);
    const workerData: TapThreadData = { fd, shared };
    const entry = import.meta.url.endsWith('.ts') ? './net-tap-thread.ts' : './net-tap-thread.js';
    this.#thread = new Worker(new URL(entry, import.meta.url), { workerData });
    this.#thread.unref();
    this.#thread.on('message', (frames: Uint8Array[]) => {
      this.#waiting.push(...frames);
      this.resume();
    });
    this.#thread.on('error', () => this.#receiver?.carrierChanged?.(false)); // the device is gone
  }

  connect(receiver: NetReceiver): void {
    this.#receiver = receiver;
    this.resume();
  }

  send(frame: Uint8Array, unfinished?: Parameters<NetLink['send']>[1]): void {
    if (this.#isClosed) return;
    this.#agreeOffloads();
    try {
      writevSync(this.#fd, [encodeVnetHeader(unfinished), frame]);
    } catch {
      // The interface is down or full, or a guest's header makes no sense: the frame is lost.
    }
  }

  resume(): void {
    this.#agreeOffloads();
    let count = 0;
    for (; count < this.#waiting.length && this.#deliver(this.#waiting[count]); count++);
    this.#waiting.splice(0, count);
    Atomics.sub(this.#words, TAP_WORD.framesUnderWay, count);
    Atomics.notify(this.#words, TAP_WORD.framesUnderWay);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    Atomics.store(this.#words, TAP_WORD.stop, 1);
    const ended = new Promise<void>((resolve) => this.#thread.once('exit', () => resolve()));
    this.#thread.ref();
    await ended;
    closeSync(this.#fd);
  }

  /** True when the frame is dealt with. */
  #deliver(bytes: Uint8Array): boolean {
    if (this.#receiver === undefined) return false;
    const unfinished = decodeVnetHeader(bytes);
    const { checksum } = this.#receiver.takes;
    if (unfinished !== undefined && !checksum) return true; // from before the driver changed its mind
    return this.#receiver.receive(bytes.subarray(VNET_HEADER_BYTES), unfinished);
  }

  #agreeOffloads(): void {
    const takes = this.#receiver?.takes;
    if (takes === undefined || takes === this.#offloads || this.#isClosed) return;
    this.#offloads = takes;
    this.#setOffloads(takes);
  }
}

/** The input device: VIRTIO 1.2, section 5.8. A keyboard, a mouse, a tablet: whatever its table of events says. */

import { stateTable, u8 } from '../../base/index.ts';
import type { DevicePort, VirtioDevice } from './device.ts';
import { layout } from './layout.ts';

/** Types of Linux's input events (input-event-codes.h), which are virtio's. */
export const INPUT_EVENT = { synchronize: 0, key: 1, relative: 2, absolute: 3, led: 0x11, repeat: 0x14 } as const;

/** What the configuration structure shows (5.8.2). */
const SELECT = { name: 1, serial: 2, ids: 3, bits: 0x11, absolute: 0x12 } as const;
const CONFIG_HEADER_BYTES = 8;
const CONFIG_BYTES = CONFIG_HEADER_BYTES + 128;
const IDS = layout({ bus: 'u16', vendor: 'u16', product: 'u16', version: 'u16' });
const BUS_VIRTUAL = 6;
const ABSOLUTE = layout({ min: 'u32', max: 'u32', fuzz: 'u32', flat: 'u32', resolution: 'u32' });
const EVENT = layout({ type: 'u16', code: 'u16', value: 'u32' });
const QUEUE_SIZE = 64;

export interface InputEvent {
  readonly type: number;
  readonly code: number;
  /** 32 bits, signed or not. */
  readonly value: number;
}

export interface InputOptions {
  readonly name: string;
  /** What people see. */
  readonly title: string;
  readonly serial?: string;
  readonly product?: number;
  /** Codes that it sends, or takes (LEDs), by type. */
  readonly codes: Readonly<Partial<Record<number, readonly number[]>>>;
  /** Ranges of its absolute axes, by code. */
  readonly axes?: Readonly<Partial<Record<number, { readonly min: number; readonly max: number }>>>;
  /** Told what the guest sends: LEDs. */
  readonly onStatus?: (event: InputEvent) => void;
}

export interface VirtioInput extends VirtioDevice {
  /**
   * Sends events that happened together; a synchronization is added. False:
   * the guest has no room for all of them, and none is sent.
   */
  send(events: readonly InputEvent[]): boolean;
}

const STATE = stateTable({ select: u8(), subselect: u8() });
const SYNCHRONIZATION: InputEvent = { type: INPUT_EVENT.synchronize, code: 0, value: 0 };

export function virtioInput(options: InputOptions): VirtioInput {
  let state = STATE.initial();
  let port: DevicePort | undefined;

  return {
    name: options.name,
    id: 18,
    pciClass: 0x09_80_00,
    features: [],
    queues: [
      // The driver's buffers stay in the ring until something happens.
      { maxSize: QUEUE_SIZE, onNotify: (queue) => queue.ignoreNotifications() },
      {
        maxSize: QUEUE_SIZE,
        onNotify: (queue) => {
          queue.pump((chain) => {
            const bytes = new Uint8Array(EVENT.length);
            if (chain.read(0, bytes) === EVENT.length) options.onStatus?.(EVENT.decode(bytes));
            queue.complete(chain, 0);
          });
        },
      },
    ],
    attach(given) {
      port = given;
    },
    start() {},
    config() {
      const body = selected(options, state.select, state.subselect);
      const config = new Uint8Array(CONFIG_BYTES);
      config.set([state.select, state.subselect, body.length]);
      config.set(body, CONFIG_HEADER_BYTES);
      return config;
    },
    writeConfig(offset, bytes) {
      for (const [i, byte] of bytes.entries()) {
        if (offset + i === 0) state.select = byte;
        else if (offset + i === 1) state.subselect = byte;
      }
    },
    reset() {
      state = STATE.initial();
    },
    snapshot: () => STATE.save(state),
    restore(record) {
      state = STATE.load(record);
    },
    send(events) {
      const queue = port?.queue(0);
      if (queue === undefined) return false;
      const { position } = queue;
      const all = [...events, SYNCHRONIZATION];
      const chains = all.map(() => queue.take()).filter((chain) => chain !== undefined);
      if (chains.length < all.length) {
        queue.putBack(chains, position);
        return false;
      }
      const filled = chains.map((chain, i) => {
        const { type, code, value } = all[i];
        return { chain, written: chain.write(0, EVENT.encode({ type, code, value: value >>> 0 })) };
      });
      queue.completeAll(filled);
      return true;
    },
  };
}

/** What `select` and `subselect` ask for, at most 128 bytes; empty where there is nothing. */
function selected(
  { title, serial = '', product = 1, codes, axes = {} }: InputOptions,
  select: number,
  subselect: number,
): Uint8Array {
  switch (select) {
    case SELECT.name:
      return text(title);
    case SELECT.serial:
      return text(serial);
    case SELECT.ids:
      return IDS.encode({ bus: BUS_VIRTUAL, vendor: 0x1af4, product, version: 1 });
    case SELECT.bits:
      return bitmap(codes[subselect] ?? []);
    case SELECT.absolute: {
      const axis = axes[subselect];
      return axis ? ABSOLUTE.encode({ min: axis.min >>> 0, max: axis.max >>> 0 }) : new Uint8Array();
    }
    default:
      return new Uint8Array();
  }
}

function text(value: string): Uint8Array {
  return Uint8Array.from(value.slice(0, CONFIG_BYTES - CONFIG_HEADER_BYTES), (letter) => letter.charCodeAt(0));
}

/** A bit for each code, as many bytes as the highest needs. */
function bitmap(codes: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(codes.length === 0 ? 0 : (Math.max(...codes) >> 3) + 1);
  for (const code of codes) bytes[code >> 3] |= 1 << (code & 7);
  return bytes.subarray(0, CONFIG_BYTES - CONFIG_HEADER_BYTES);
}

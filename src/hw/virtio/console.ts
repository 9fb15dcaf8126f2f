/** The console device with several ports: VIRTIO 1.2, section 5.3. */

import type { StateOf } from '../../base/index.ts';
import { array, bool, list, stateTable, u8, u16, u32 } from '../../base/index.ts';
import type { CharPort } from '../../contract/index.ts';
import type { Chain } from './chain.ts';
import type { DevicePort, Negotiated, QueueSpec, VirtioDevice } from './device.ts';
import { layout } from './layout.ts';
import type { Virtqueue } from './queue.ts';

const FEATURE = { size: 0, multiport: 1, emergencyWrite: 2 } as const;
const CONFIG = layout({ columns: 'u16', rows: 'u16', portsMax: 'u32', emergencyWrite: 'u32' });
/** struct virtio_console_control (5.3.6.2). */
const CONTROL = layout({ port: 'u32', event: 'u16', value: 'u16' });
const EVENT = {
  deviceReady: 0,
  portAdd: 1,
  portReady: 3,
  consolePort: 4,
  resize: 5,
  portOpen: 6,
  portName: 7,
} as const;
const CONTROL_RECEIVE = 2;

const QUEUE_SIZE = 128;
const PORTS_MAX = 31;
/** Bytes from outside that wait for the driver's buffers, a port. */
const INPUT_BYTES_MAX = 4096;
/** Bytes handed outwards at once. */
const OUTPUT_PIECE_BYTES = 65_536;
/** Messages that wait for the driver's buffers; a driver that lets more come up does not answer. */
const MESSAGES_MAX = 8 * (PORTS_MAX + 1);

export interface ConsolePort {
  readonly port: CharPort;
  /** Guests make a link of that name: /dev/virtio-ports/… */
  readonly name?: string;
  /** A terminal (hvc0 and so on) rather than a plain channel. The first port is one without multiport. */
  readonly isConsole?: boolean;
}

export interface ConsoleOptions {
  readonly name: string;
  /** One to 31. */
  readonly ports: readonly ConsolePort[];
}

export interface VirtioConsole extends VirtioDevice {
  /** The terminal outside has another size, in characters. */
  resize(columns: number, rows: number): void;
}

function stateOf(portCount: number) {
  return stateTable({
    columns: u16(),
    rows: u16(),
    messages: list(MESSAGES_MAX, stateTable({ port: u32(), event: u16(), value: u16() })),
    ports: array(portCount, stateTable({ isOpen: bool(), input: list(INPUT_BYTES_MAX, u8()) })),
  });
}

export function virtioConsole(options: ConsoleOptions): VirtioConsole {
  return new Console(options);
}

class Console implements VirtioConsole {
  readonly name: string;
  readonly id = 3;
  readonly pciClass = 0x07_80_00;
  readonly features = Object.values(FEATURE);
  readonly queues: readonly QueueSpec[];
  readonly #ports: readonly ConsolePort[];
  readonly #table: ReturnType<typeof stateOf>;
  #state: StateOf<ReturnType<typeof stateOf>>;
  #device: DevicePort | undefined;
  #isMultiport = false;

  constructor({ name, ports }: ConsoleOptions) {
    this.name = name;
    this.#ports = ports.slice(0, PORTS_MAX);
    this.#table = stateOf(this.#ports.length);
    this.#state = this.#table.initial();
    const pairs = this.#ports.map((_, port) => this.#portQueues(port));
    this.queues = [...pairs[0], ...this.#controlQueues(), ...pairs.slice(1).flat()];
    for (const [index, { port }] of this.#ports.entries()) {
      port.connect({
        canReceive: () => (this.#isOpen(index) ? INPUT_BYTES_MAX - this.#state.ports[index].input.length : 0),
        receive: (bytes) => {
          this.#state.ports[index].input.push(...bytes);
          this.#feed(index);
        },
      });
    }
  }

  attach(device: DevicePort): void {
    this.#device = device;
  }

  start(negotiated: Negotiated): void {
    this.#isMultiport = negotiated(FEATURE.multiport);
  }

  config(): Uint8Array {
    const { columns, rows } = this.#state;
    return CONFIG.encode({ columns, rows, portsMax: this.#ports.length });
  }

  /** 5.3.4: a character for whoever has no queues yet. */
  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset === CONFIG.offsets.emergencyWrite) this.#ports[0].port.write(bytes.slice(0, 1));
  }

  resize(columns: number, rows: number): void {
    this.#state.columns = columns;
    this.#state.rows = rows;
    if (!this.#isMultiport) this.#device?.configChanged();
    for (const [port, { isConsole }] of this.#ports.entries()) {
      if (this.#isMultiport && isConsole) this.#tell(port, EVENT.resize);
    }
  }

  reset(): void {
    const { columns, rows } = this.#state; // the terminal outside stays as it is
    this.#state = { ...this.#table.initial(), columns, rows };
    this.#isMultiport = false;
  }

  snapshot() {
    return this.#table.save(this.#state);
  }

  restore(record: Parameters<VirtioDevice['restore']>[0]): void {
    this.#state = this.#table.load(record);
  }

  #portQueues(port: number): QueueSpec[] {
    return [
      { maxSize: QUEUE_SIZE, onNotify: () => this.#feed(port) },
      { maxSize: QUEUE_SIZE, onNotify: (queue) => queue.pump((chain) => this.#send(port, queue, chain)) },
    ];
  }

  #controlQueues(): QueueSpec[] {
    return [
      { maxSize: QUEUE_SIZE, onNotify: () => this.#deliver() },
      {
        maxSize: QUEUE_SIZE,
        onNotify: (queue) => {
          queue.pump((chain) => {
            const bytes = new Uint8Array(CONTROL.length);
            if (chain.read(0, bytes) < CONTROL.length) return queue.fail('a control message cut short');
            queue.complete(chain, 0);
            this.#control(CONTROL.decode(bytes));
          });
        },
      },
    ];
  }

  /** Without multiport there are no messages, and the one port is open as soon as there is a driver. */
  #isOpen(port: number): boolean {
    return this.#isMultiport ? this.#state.ports[port].isOpen : port === 0;
  }

  #send(port: number, queue: Virtqueue, chain: Chain): void {
    const piece = new Uint8Array(Math.min(chain.readableBytes, OUTPUT_PIECE_BYTES));
    for (let done = 0; done < chain.readableBytes; ) {
      const count = chain.read(done, piece);
      this.#ports[port].port.write(piece.subarray(0, count));
      done += count;
    }
    queue.complete(chain, 0);
  }

  /** Gives waiting input to the driver's buffers. */
  #feed(port: number): void {
    const queue = this.#device?.queue(port === 0 ? 0 : 2 + 2 * port);
    const { input } = this.#state.ports[port];
    while (queue && input.length > 0) {
      const chain = queue.take();
      if (chain === undefined) return;
      const count = chain.write(0, Uint8Array.from(input.slice(0, chain.writableBytes)));
      input.splice(0, count);
      queue.complete(chain, count);
      if (count > 0) continue;
      queue.fail('a receive buffer without room');
      return;
    }
  }

  /** What the driver says (5.3.6.2). */
  #control({ port, event, value }: { readonly port: number; readonly event: number; readonly value: number }): void {
    if (event === EVENT.deviceReady) {
      if (value === 1) for (const index of this.#ports.keys()) this.#tell(index, EVENT.portAdd, 1);
      return;
    }
    const given = this.#ports[port];
    if (given === undefined) return;
    if (event === EVENT.portOpen) this.#state.ports[port].isOpen = value === 1;
    if (event !== EVENT.portReady || value !== 1) return;
    if (given.isConsole) {
      this.#tell(port, EVENT.consolePort, 1);
      if (this.#state.columns > 0) this.#tell(port, EVENT.resize);
    }
    if (given.name !== undefined) this.#tell(port, EVENT.portName, 1);
    this.#tell(port, EVENT.portOpen, 1);
  }

  #tell(port: number, event: number, value = 0): void {
    const { messages } = this.#state;
    if (messages.length === MESSAGES_MAX) {
      this.#device?.fail(`${MESSAGES_MAX} control messages that it has not taken`);
      return;
    }
    messages.push({ port, event, value });
    this.#deliver();
  }

  #deliver(): void {
    const queue = this.#device?.queue(CONTROL_RECEIVE);
    const { messages } = this.#state;
    while (queue && messages.length > 0) {
      const chain = queue.take();
      if (chain === undefined) return;
      const bytes = this.#encode(messages[0]);
      if (chain.write(0, bytes) < bytes.length) {
        queue.fail(`no room for a control message of ${bytes.length} bytes`);
        return;
      }
      messages.shift();
      queue.complete(chain, bytes.length);
    }
  }

  #encode(message: { readonly port: number; readonly event: number; readonly value: number }): Uint8Array {
    const { columns, rows } = this.#state;
    const head = CONTROL.encode(message);
    if (message.event === EVENT.portName) {
      const name = Array.from(this.#ports[message.port].name ?? '', (letter) => letter.charCodeAt(0));
      return Uint8Array.of(...head, ...name, 0);
    }
    if (message.event === EVENT.resize)
      return Uint8Array.of(...head, ...CONFIG.encode({ columns, rows }).subarray(0, 4));
    return head;
  }
}

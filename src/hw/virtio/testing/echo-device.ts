/** A device for the tests of rings and transports: queue 0 answers with what it was sent, queue 1 when told to. */
import type { Chain } from '../chain.ts';
import type { DevicePort, VirtioDevice } from '../device.ts';

export interface EchoDevice extends VirtioDevice {
  /** Answers the chains that queue 1 holds, in this order of their arrival. */
  answer(...order: number[]): void;
  readonly held: Chain[];
  port(): DevicePort;
  configBytes: Uint8Array;
}

export function echoDevice(queueSize = 16): EchoDevice {
  let port: DevicePort | undefined;
  const held: Chain[] = [];
  const echo = (chain: Chain) => {
    const bytes = new Uint8Array(Math.min(chain.readableBytes, 65_536));
    chain.read(0, bytes);
    return chain.write(0, bytes);
  };
  return {
    name: 'echo',
    id: 63,
    pciClass: 0x00_ff_00,
    features: [],
    queues: [
      { maxSize: queueSize, onNotify: (queue) => queue.pump((chain) => queue.complete(chain, echo(chain))) },
      { maxSize: queueSize, onNotify: (queue) => queue.pump((chain) => held.push(chain)) },
    ],
    attach(given) {
      port = given;
    },
    start() {},
    configBytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    config() {
      return this.configBytes;
    },
    writeConfig(offset, bytes) {
      this.configBytes.set(bytes, offset);
    },
    reset() {
      held.length = 0;
    },
    snapshot: () => ({}),
    restore() {},
    held,
    answer(...order) {
      const chains = order.map((index) => held[index]);
      held.splice(0, held.length, ...held.filter((chain) => !chains.includes(chain)));
      for (const chain of chains) port?.queue(1).complete(chain, echo(chain));
    },
    port() {
      if (port === undefined) throw new Error('not attached');
      return port;
    },
  };
}

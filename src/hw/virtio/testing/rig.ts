/** A virtio device on a transport of its own, with a mock driver and everything else in the test's hands. */
import type { Device, GuestMemory } from '../../../contract/index.ts';
import { MmioBus, PortBus } from '../../bus/index.ts';
import { FakeLine, FakeMsiSink } from '../../testing/fakes.ts';
import { testMemory } from '../../testing/kernels.ts';
import { VirtioCore } from '../core.ts';
import type { VirtioDevice } from '../device.ts';
import { VIRTIO_MMIO_BYTES, VirtioMmio } from '../mmio-transport.ts';
import { virtioPci } from '../pci-transport.ts';
import { type DriverOptions, type DriverTransport, MockDriver, mmioTransport, pciTransport } from './driver.ts';

const MEMORY_BYTES = 4 * 2 ** 20;
const WINDOW_BASE = 0xc000_0000;

export interface Rig {
  readonly memory: GuestMemory;
  readonly mmio: MmioBus;
  readonly irq: FakeLine;
  readonly msi: FakeMsiSink;
  readonly core: VirtioCore;
  /** Everything with state, in the order of restoring. */
  readonly parts: readonly Device[];
  readonly transport: DriverTransport;
  /** What the device said about the driver. */
  readonly complaints: string[];
  driver(options?: DriverOptions): MockDriver;
}

export type TransportName = 'pci' | 'mmio';

export function rig(device: VirtioDevice, transportName: TransportName = 'pci'): Rig {
  const memory = testMemory(MEMORY_BYTES);
  const mmio = new MmioBus();
  const irq = new FakeLine();
  const msi = new FakeMsiSink();
  const complaints: string[] = [];
  const core = new VirtioCore({ device, memory, onGuestError: (message) => complaints.push(message) });
  let parts: readonly Device[];
  let transport: DriverTransport;
  if (transportName === 'pci') {
    const virtio = virtioPci({ core, mmio, ports: new PortBus(), msi, intx: irq });
    const { pciFunction } = virtio;
    const config = {
      read: (offset: number, size: 1 | 2 | 4) => pciFunction.readConfig(offset, size),
      write: (offset: number, size: 1 | 2 | 4, value: number) => pciFunction.writeConfig(offset, size, value),
    };
    transport = pciTransport(config, mmio, WINDOW_BASE);
    parts = [pciFunction, ...virtio.parts];
  } else {
    const window = new VirtioMmio({ core, irq });
    mmio.map(WINDOW_BASE, VIRTIO_MMIO_BYTES, window.window, 'virtio-mmio');
    transport = mmioTransport(mmio, WINDOW_BASE);
    parts = [window, core, device];
  }
  const driver = (options?: DriverOptions) => new MockDriver(transport, memory, options);
  return { memory, mmio, irq, msi, core, parts, transport, complaints, driver };
}

/** A virtio device on a transport of its own, with a mock driver and everything else in the test's hands. */
import type { Device, GuestMemory } from '../../../contract/index.ts';
import { MmioBus, PortBus } from '../../bus/index.ts';
import type { VirtioPciMode } from '../../names.ts';
import { FakeLine, FakeMsiSink } from '../../testing/fakes.ts';
import { testMemory } from '../../testing/kernels.ts';
import { VirtioCore } from '../core.ts';
import type { VirtioDevice } from '../device.ts';
import { VIRTIO_MMIO_BYTES, VirtioMmio } from '../mmio-transport.ts';
import { virtioPci } from '../pci-transport.ts';
import { type DriverOptions, type DriverTransport, MockDriver, mmioTransport, pciTransport } from './driver.ts';
import { legacyTransport } from './legacy-transport.ts';

const MEMORY_BYTES = 4 * 2 ** 20;
const WINDOW_BASE = 0xc000_0000;
const PORT_BASE = 0xc000;

export interface Rig {
  readonly memory: GuestMemory;
  readonly mmio: MmioBus;
  readonly ports: PortBus;
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

/** `legacy`: the older interface, of a device that has no other or has both. */
export type TransportName = 'pci' | 'mmio' | 'legacy';

export function rig(
  device: VirtioDevice,
  transportName: TransportName = 'pci',
  mode: VirtioPciMode = transportName === 'legacy' ? 'transitional' : 'modern',
): Rig {
  const memory = testMemory(MEMORY_BYTES);
  const mmio = new MmioBus();
  const irq = new FakeLine();
  const msi = new FakeMsiSink();
  const complaints: string[] = [];
  const core = new VirtioCore({ device, memory, onGuestError: (message) => complaints.push(message) });
  let parts: readonly Device[];
  let transport: DriverTransport;
  const ports = new PortBus();
  if (transportName !== 'mmio') {
    const virtio = virtioPci({ core, mode, mmio, ports, msi, intx: irq });
    const { pciFunction } = virtio;
    const config = {
      read: (offset: number, size: 1 | 2 | 4) => pciFunction.readConfig(offset, size),
      write: (offset: number, size: 1 | 2 | 4, value: number) => pciFunction.writeConfig(offset, size, value),
    };
    transport =
      transportName === 'legacy' ? legacyTransport(config, ports, PORT_BASE) : pciTransport(config, mmio, WINDOW_BASE);
    parts = [pciFunction, ...virtio.parts];
  } else {
    const window = new VirtioMmio({ core, irq });
    mmio.map(WINDOW_BASE, VIRTIO_MMIO_BYTES, window.window, 'virtio-mmio');
    transport = mmioTransport(mmio, WINDOW_BASE);
    parts = [window, core, device];
  }
  const driver = (options?: DriverOptions) => new MockDriver(transport, memory, options);
  return { memory, mmio, ports, irq, msi, core, parts, transport, complaints, driver };
}

/** A driver's access to a virtio PCI function by its I/O BAR: VIRTIO 1.2, 4.1.4.10. */
import type { Bus } from '../../../contract/index.ts';
import type { DriverTransport } from './driver.ts';

const PAGE_BYTES = 4096;
const DEVICE_IDS: Readonly<Record<number, number>> = {
  4096: 1,
  4097: 2,
  4098: 5,
  4099: 3,
  4100: 8,
  4101: 4,
  4105: 9,
};

/** @param headerBytes where the device's configuration is; 24 while MSI-X is on */
export function legacyTransport(
  config: {
    read(offset: number, size: 1 | 2 | 4): number;
    write(offset: number, size: 1 | 2 | 4, value: number): void;
  },
  ports: Bus,
  base: number,
  headerBytes: 20 | 24 = 20,
): DriverTransport {
  config.write(0x10, 4, base);
  config.write(0x04, 2, 0x0007);
  const select = (index: number) => ports.write(base + 14, 2, index);
  return {
    isLegacy: true,
    deviceId: DEVICE_IDS[config.read(0x02, 2)],
    readStatus: () => ports.read(base + 18, 1),
    writeStatus: (value) => ports.write(base + 18, 1, value),
    readFeatures: (word) => (word === 0 ? ports.read(base, 4) : 0),
    writeFeatures(word, value) {
      if (word === 0) ports.write(base + 4, 4, value);
    },
    queueMaxSize(index) {
      select(index);
      return ports.read(base + 12, 2);
    },
    setUpQueue(index, _size, { descriptors }) {
      select(index);
      if (ports.read(base + 8, 4) !== 0) throw new Error(`queue ${index} is in use`);
      ports.write(base + 8, 4, descriptors / PAGE_BYTES);
    },
    resetQueue(index) {
      select(index);
      ports.write(base + 8, 4, 0);
    },
    notify: (index) => ports.write(base + 16, 2, index),
    readConfig: (offset, size) => ports.read(base + headerBytes + offset, size),
    writeConfig: (offset, size, value) => ports.write(base + headerBytes + offset, size, value),
  };
}

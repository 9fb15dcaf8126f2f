/**
 * The interface of devices before virtio 1.0, as one I/O BAR: VIRTIO 1.2, 4.1.4.10 and the notes on legacy interfaces.
 * A queue's three areas follow one another from a page's start (2.7.2), and numbers are the guest's, which is little endian.
 */
import { mergeBits } from '../../base/index.ts';
import type { BusDevice } from '../../contract/index.ts';
import { registerWindow } from '../bus/index.ts';
import { DESCRIPTOR_BYTES } from './constants.ts';
import type { VirtioCore } from './core.ts';
import { NO_VECTOR, type QueueState } from './ring.ts';

const PAGE_BYTES = 4096;
/** Where the device's own configuration begins, without MSI-X and with it. */
const HEADER_BYTES = { plain: 20, msix: 24 } as const;
const SMALLEST_BAR_BYTES = 32;

export interface LegacyPort {
  isMsixEnabled(): boolean;
  /** Reads and clears the ISR. */
  takeIsr(): number;
}

/** How large the BAR must be, in bytes. */
export function legacyBarBytes(core: VirtioCore): number {
  const bytes = HEADER_BYTES.msix + core.device.config().length;
  return Math.max(SMALLEST_BAR_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
}

export function legacyRegisters(core: VirtioCore, { isMsixEnabled, takeIsr }: LegacyPort): BusDevice {
  const s = () => core.state;
  const common = registerWindow(HEADER_BYTES.msix, [
    { name: 'device features', offset: 0, width: 4, read: () => core.legacyFeatures() },
    {
      name: 'driver features',
      offset: 4,
      width: 4,
      read: () => s().driverFeaturesLow,
      write: (value, mask) => core.writeLegacyFeatures(mergeBits(s().driverFeaturesLow, mask, value)),
    },
    {
      name: 'queue address',
      offset: 8,
      width: 4,
      read: () => (core.selected?.state.enabled ? pageNumber(core.selected.state) : 0),
      write: (value) => setAddress(core, value),
    },
    {
      name: 'queue size',
      offset: 12,
      width: 2,
      read: () => (core.selected ? core.device.queues[core.selected.index].maxSize : 0),
    },
    {
      name: 'queue select',
      offset: 14,
      width: 2,
      read: () => s().queueSelect,
      write: (value, mask) => (s().queueSelect = mergeBits(s().queueSelect, mask, value)),
    },
    { name: 'queue notify', offset: 16, width: 2, write: (value) => core.legacyNotify(value) },
    {
      name: 'device status',
      offset: 18,
      width: 1,
      read: () => s().status,
      write: (value) => core.writeLegacyStatus(value),
    },
    { name: 'ISR status', offset: 19, width: 1, read: takeIsr },
    {
      name: 'configuration vector',
      offset: 20,
      width: 2,
      read: () => s().configVector,
      write: (value) => (s().configVector = value <= core.queues.length ? value : NO_VECTOR),
    },
    {
      name: 'queue vector',
      offset: 22,
      width: 2,
      read: () => core.selected?.state.vector ?? NO_VECTOR,
      write(value) {
        if (core.selected) core.selected.state.vector = value <= core.queues.length ? value : NO_VECTOR;
      },
    },
  ]);
  const headerBytes = () => (isMsixEnabled() ? HEADER_BYTES.msix : HEADER_BYTES.plain);
  return {
    read(offset, size) {
      const own = offset - headerBytes();
      return own >= 0 ? core.readConfig(own, size) : common.read(offset, size);
    },
    write(offset, size, value) {
      const own = offset - headerBytes();
      if (own >= 0) core.writeConfig(own, size, value, true);
      else common.write(offset, size, value);
    },
  };
}

function pageNumber({ descriptorLow, descriptorHigh }: QueueState): number {
  return ((descriptorHigh * 2 ** 32 + descriptorLow) / PAGE_BYTES) >>> 0;
}

/** 4.1.5.1.3.1: a page number puts the queue into use, and 0 takes it out of use. */
function setAddress(core: VirtioCore, page: number): void {
  const queue = core.selected;
  if (queue === undefined) return;
  if (page === 0) {
    core.resetQueue(queue);
    return;
  }
  if (queue.state.enabled) return;
  const size = core.device.queues[queue.index].maxSize;
  const descriptors = page * PAGE_BYTES;
  const driver = descriptors + size * DESCRIPTOR_BYTES;
  const device = Math.ceil((driver + 6 + 2 * size) / PAGE_BYTES) * PAGE_BYTES;
  Object.assign(queue.state, {
    size,
    ...words('descriptor', descriptors),
    ...words('driver', driver),
    ...words('device', device),
  });
  core.connectQueue(queue);
}

function words(area: 'descriptor' | 'driver' | 'device', address: number): Partial<QueueState> {
  return { [`${area}Low`]: address % 2 ** 32, [`${area}High`]: Math.floor(address / 2 ** 32) };
}

/** The registers by which a driver on PCI negotiates and sets queues up. */
import { mergeBits } from '../../base/index.ts';
import type { RegisterSpec } from '../bus/index.ts';
import type { VirtioCore } from './core.ts';
import type { Virtqueue } from './queue.ts';
import { NO_VECTOR, type QueueState } from './ring.ts';

/** The common configuration structure (4.1.4.3). */
export function commonRows(core: VirtioCore): RegisterSpec[] {
  const s = () => core.state;
  const vectors = core.queues.length + 1;
  const vectorOf = (old: number, mask: number, value: number) => {
    const vector = mergeBits(old, mask, value);
    return vector < vectors ? vector : NO_VECTOR;
  };
  return [
    {
      name: 'device_feature_select',
      offset: 0x00,
      width: 4,
      read: () => s().deviceFeatureSelect,
      write: (value, mask) => (s().deviceFeatureSelect = mergeBits(s().deviceFeatureSelect, mask, value)),
    },
    { name: 'device_feature', offset: 0x04, width: 4, read: () => core.deviceFeatures() },
    {
      name: 'driver_feature_select',
      offset: 0x08,
      width: 4,
      read: () => s().driverFeatureSelect,
      write: (value, mask) => (s().driverFeatureSelect = mergeBits(s().driverFeatureSelect, mask, value)),
    },
    {
      name: 'driver_feature',
      offset: 0x0c,
      width: 4,
      read: () => core.driverFeatures(),
      write: (value, mask) => core.writeDriverFeatures(mergeBits(core.driverFeatures(), mask, value)),
    },
    {
      name: 'config_msix_vector',
      offset: 0x10,
      width: 2,
      read: () => s().configVector,
      write: (value, mask) => (s().configVector = vectorOf(s().configVector, mask, value)),
    },
    { name: 'num_queues', offset: 0x12, width: 2, read: () => core.queues.length },
    {
      name: 'device_status',
      offset: 0x14,
      width: 1,
      read: () => s().status,
      write: (value) => core.writeStatus(value),
    },
    { name: 'config_generation', offset: 0x15, width: 1, read: () => s().configGeneration },
    {
      name: 'queue_select',
      offset: 0x16,
      width: 2,
      read: () => s().queueSelect,
      write: (value, mask) => (s().queueSelect = mergeBits(s().queueSelect, mask, value)),
    },
    queueRow(core, 'size', 0x18, 2),
    {
      name: 'queue_msix_vector',
      offset: 0x1a,
      width: 2,
      read: () => core.selected?.state.vector ?? NO_VECTOR,
      write: (value, mask) => {
        const queue = core.selected;
        if (queue) queue.state.vector = vectorOf(queue.state.vector, mask, value);
      },
    },
    {
      name: 'queue_enable',
      offset: 0x1c,
      width: 2,
      read: () => (core.selected?.state.enabled ? 1 : 0),
      write: (value) => {
        if (value === 1 && core.selected) core.enableQueue(core.selected);
      },
    },
    { name: 'queue_notify_off', offset: 0x1e, width: 2, read: () => (core.selected ? s().queueSelect : 0) },
    queueRow(core, 'descriptorLow', 0x20, 4),
    queueRow(core, 'descriptorHigh', 0x24, 4),
    queueRow(core, 'driverLow', 0x28, 4),
    queueRow(core, 'driverHigh', 0x2c, 4),
    queueRow(core, 'deviceLow', 0x30, 4),
    queueRow(core, 'deviceHigh', 0x34, 4),
    { name: 'queue_notify_data', offset: 0x38, width: 2, read: () => (core.selected ? s().queueSelect : 0) },
    {
      name: 'queue_reset',
      offset: 0x3a,
      width: 2,
      write: (value) => {
        if (value === 1 && core.selected) core.resetQueue(core.selected);
      },
    },
  ];
}

type QueueField = { [Name in keyof QueueState]: QueueState[Name] extends number ? Name : never }[keyof QueueState];

/** A register of the selected queue: 0 where there is no such queue, fixed once the queue is in use. */
function queueRow(core: VirtioCore, field: QueueField, offset: number, width: 2 | 4): RegisterSpec {
  return {
    name: `queue ${field}`,
    offset,
    width,
    read: () => core.selected?.state[field] ?? 0,
    write: (value, mask) => {
      const queue: Virtqueue | undefined = core.selected;
      if (queue && !queue.state.enabled) queue.state[field] = mergeBits(queue.state[field], mask, value);
    },
  };
}

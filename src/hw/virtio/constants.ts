/** Numbers that every part of virtio shares: Virtual I/O Device (VIRTIO) 1.2, sections 2.1 and 6. */

/** Device status bits (2.1). */
export const STATUS = {
  acknowledge: 0x01,
  driver: 0x02,
  driverOk: 0x04,
  featuresOk: 0x08,
  needsReset: 0x40,
  failed: 0x80,
} as const;

/** Feature bits that belong to no device in particular (6). */
export const FEATURE = {
  /** Of the legacy interface alone (6.3). */
  anyLayout: 27,
  indirectDescriptors: 28,
  eventIndex: 29,
  version1: 32,
  ringPacked: 34,
  inOrder: 35,
  notificationData: 38,
  ringReset: 40,
} as const;

/** Why a device interrupts: the bits of the ISR (4.1.4.5, 4.2.2). */
export const ISR = { queue: 1, config: 2 } as const;

/** Descriptor flags of both ring formats (2.7.5, 2.8.1). */
export const DESCRIPTOR = { next: 0x1, write: 0x2, indirect: 0x4, available: 0x80, used: 0x8000 } as const;
export const DESCRIPTOR_BYTES = 16;

/** Largest size of a split and of a packed queue (2.7, 2.8). */
export const QUEUE_SIZE_MAX = 32_768;

/** A set of feature bits, 0 to 63, as the two words in which drivers read and write them. */
export interface FeatureWords {
  low: number;
  high: number;
}

export function featureWords(bitNumbers: readonly number[]): FeatureWords {
  const words = { low: 0, high: 0 };
  for (const bit of bitNumbers) {
    if (bit < 32) words.low = (words.low | (1 << bit)) >>> 0;
    else words.high = (words.high | (1 << (bit - 32))) >>> 0;
  }
  return words;
}

export function hasFeature({ low, high }: FeatureWords, bit: number): boolean {
  return (bit < 32 ? (low >>> bit) & 1 : (high >>> (bit - 32)) & 1) !== 0;
}

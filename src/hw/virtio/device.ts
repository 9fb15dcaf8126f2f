/** What a virtio device is, apart from how its driver reaches it. */
import type { Device } from '../../contract/index.ts';
import type { Virtqueue } from './queue.ts';

/** One queue of a device. */
export interface QueueSpec {
  /** Entries, at most; a power of two. */
  readonly maxSize: number;
  /** The driver made buffers available. */
  onNotify(queue: Virtqueue): void;
}

/** The device's side of the transport. */
export interface DevicePort {
  queue(index: number): Virtqueue;
  /** The configuration changed by itself: tells the driver. */
  configChanged(): void;
  /** The driver broke the rules: the device stops until it is reset (2.1.2). */
  fail(reason: string): void;
}

/** Feature bits that the driver has accepted. */
export type Negotiated = (bit: number) => boolean;

/**
 * The device itself: its name and state as any device's, and what virtio asks
 * of it. Nothing it is given through its queues may make it throw.
 */
export interface VirtioDevice extends Device {
  /** VIRTIO 1.2, section 5. */
  readonly id: number;
  /** Base class, subclass and programming interface where it is a PCI function, 24 bits. */
  readonly pciClass: number;
  /** Bits of the device's own features that it offers. */
  readonly features: readonly number[];
  readonly queues: readonly QueueSpec[];
  /** Its requests take longer or shorter, so that one should not wait for those before it: in-order use is not offered. */
  readonly answersOutOfOrder?: boolean;
  /** Says once, before anything else happens, whom the device talks to. */
  attach(port: DevicePort): void;
  /** The driver is ready (DRIVER_OK), or a restored state says that it was. */
  start(negotiated: Negotiated): void;
  /** The configuration structure as it is now; always of the same length. */
  config(): Uint8Array;
  /** The driver wrote `bytes` at `offset` of the configuration structure; `isLegacy`: by the legacy interface. */
  writeConfig?(offset: number, bytes: Uint8Array, isLegacy: boolean): void;
}

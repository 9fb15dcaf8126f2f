/** A machine that stands still as a snapshot, piece by piece. */
import type { DeviceRecord } from '../contract/index.ts';
import {
  encodeHeader,
  encodePreamble,
  HEADER_BYTES,
  KIND,
  type Kind,
  LENGTH_MAX,
  PAGE_BYTES,
  PREAMBLE_BYTES,
  paddingBefore,
} from './format.ts';
import { type DeviceSection, deviceToText, recordToText } from './record-text.ts';
import { type Ram, type Scanner, scannerOf } from './scan.ts';

export interface SnapshotParts {
  readonly state: DeviceRecord;
  /** What the state refers to and is too large for text: a kernel, an initrd. */
  readonly blobs: readonly Uint8Array[];
  readonly memory: Ram;
  readonly devices: readonly DeviceSection[];
}

/** Fewer zero pages than these between others are written with them. */
const GAP_PAGES = 4;
const RAM_PIECE_BYTES = LENGTH_MAX[KIND.ram];

/**
 * The snapshot's bytes in order. A piece of RAM is a view of the guest's memory itself: it is to be written
 * before the guest runs again.
 */
export function* snapshotBytes({ state, blobs, memory, devices }: SnapshotParts): Generator<Uint8Array, void> {
  const scanner = scannerOf(memory);
  let offset = PREAMBLE_BYTES;
  let sections = 0;
  function* section(kind: Kind, address: number, payload: Uint8Array): Generator<Uint8Array, void> {
    yield encodeHeader({ kind, address, length: payload.length, checksum: scanner.checksum(payload) });
    offset += HEADER_BYTES;
    if (kind === KIND.ram) {
      const padding = new Uint8Array(paddingBefore(offset));
      if (padding.length > 0) yield padding;
      offset += padding.length;
    }
    if (payload.length > 0) yield payload;
    offset += payload.length;
    sections++;
  }
  yield encodePreamble();
  const encoder = new TextEncoder();
  yield* section(KIND.state, 0, encoder.encode(recordToText(state)));
  for (const blob of blobs) yield* section(KIND.blob, 0, blob);
  for (const { address, bytes } of ramPieces(memory, scanner)) yield* section(KIND.ram, address, bytes);
  for (const device of devices) yield* section(KIND.device, 0, encoder.encode(deviceToText(device)));
  yield encodeHeader({ kind: KIND.end, address: 0, length: sections, checksum: 0 });
}

/** What RAM is not zero, in pieces of whole pages. */
export function* ramPieces(
  { buffer, ranges }: Ram,
  { isZeroPage }: Scanner,
): Generator<{ readonly address: number; readonly bytes: Uint8Array }, void> {
  for (const { base, size, offset } of ranges) {
    const pages = size / PAGE_BYTES;
    let first = -1;
    let zeros = 0;
    const piece = (end: number) => ({
      address: base + first * PAGE_BYTES,
      bytes: new Uint8Array(buffer, offset + first * PAGE_BYTES, (end - first) * PAGE_BYTES),
    });
    for (let page = 0; page < pages; page++) {
      if (isZeroPage(offset + page * PAGE_BYTES)) {
        zeros++;
        if (first < 0 || zeros < GAP_PAGES) continue;
        yield piece(page + 1 - zeros);
        first = -1;
        continue;
      }
      zeros = 0;
      if (first < 0) first = page;
      if ((page + 1 - first) * PAGE_BYTES < RAM_PIECE_BYTES) continue;
      yield piece(page + 1);
      first = -1;
    }
    if (first >= 0) yield piece(pages - zeros);
  }
}

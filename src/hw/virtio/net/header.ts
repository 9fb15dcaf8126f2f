/** The header before every frame: struct virtio_net_hdr of VIRTIO 1.2, 5.1.6. */
import type { NetOffloads, UnfinishedFrame } from '../../../contract/index.ts';
import { layout } from '../layout.ts';

const HEADER = layout({
  flags: 'u8',
  gsoType: 'u8',
  headerLength: 'u16',
  gsoSize: 'u16',
  checksumStart: 'u16',
  checksumOffset: 'u16',
  bufferCount: 'u16',
});
export const NET_HEADER_BYTES = HEADER.length;
/** Over the legacy interface there is no count of buffers unless they are merged (5.1.6.1). */
export const LEGACY_HEADER_BYTES = HEADER.offsets.bufferCount;

const NEEDS_CHECKSUM = 1;
const GSO = { none: 0, tcp4: 1, tcp6: 4 } as const;
/** Segments carry on with explicit congestion notification; nobody here minds. */
const GSO_ECN = 0x80;
/** Of a TCP header: where its length is, in words of 4 bytes in the upper half of a byte; the shortest one. */
const TCP_LENGTH_AT = 12;
const TCP_HEADER_MIN = 20;

/**
 * What the driver left undone in `frame`, or undefined when it is finished.
 * A text says why the frame cannot be sent.
 * @param takes what the driver may leave undone
 */
export function decodeHeader(
  header: Uint8Array,
  frame: Uint8Array,
  takes: NetOffloads,
): UnfinishedFrame | string | undefined {
  if (header[0] === 0 && header[1] === GSO.none) return undefined;
  const { flags, gsoType, gsoSize, checksumStart, checksumOffset } = HEADER.decode(header);
  if (!(flags & NEEDS_CHECKSUM)) return gsoType === GSO.none ? undefined : 'a large frame without a checksum to finish';
  if (!takes.checksum) return 'an unfinished checksum that was not negotiated';
  if (checksumStart + checksumOffset + 2 > frame.length) return 'a checksum outside its frame';
  const unfinished = { checksumStart, checksumOffset };
  if (gsoType === GSO.none) return unfinished;
  const kind = (gsoType & ~GSO_ECN) === GSO.tcp4 ? 'tcp4' : (gsoType & ~GSO_ECN) === GSO.tcp6 ? 'tcp6' : undefined;
  if (kind === undefined || !takes[kind]) return `a large frame of kind ${gsoType} that was not negotiated`;
  // The driver's own header length is a hint and may be wrong (5.1.6.2.2): TCP says it itself.
  const tcpBytes = ((frame[checksumStart + TCP_LENGTH_AT] ?? 0) >> 4) * 4;
  const headerBytes = checksumStart + tcpBytes;
  if (tcpBytes < TCP_HEADER_MIN || headerBytes > frame.length) return 'a large frame with a broken TCP header';
  if (gsoSize === 0) return 'a large frame in segments of nothing';
  return { ...unfinished, segments: { kind, payloadBytes: gsoSize, headerBytes } };
}

/** Of a finished frame in one buffer. */
const PLAIN_HEADER = HEADER.encode({ bufferCount: 1 });

/** The header of a frame for the driver, not to be changed. @param bufferCount how many buffers the frame takes */
export function encodeHeader(unfinished: UnfinishedFrame | undefined, bufferCount: number): Uint8Array {
  if (unfinished === undefined) return bufferCount === 1 ? PLAIN_HEADER : HEADER.encode({ bufferCount });
  const { checksumStart, checksumOffset, segments } = unfinished;
  return HEADER.encode({
    flags: NEEDS_CHECKSUM,
    gsoType: segments ? GSO[segments.kind] : GSO.none,
    headerLength: segments?.headerBytes,
    gsoSize: segments?.payloadBytes,
    checksumStart,
    checksumOffset,
    bufferCount,
  });
}

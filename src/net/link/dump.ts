/** Records what passes a link in the pcap format (draft-ietf-opsawg-pcap), for tcpdump and Wireshark. */
import type { NetLink, WallClock } from '../../contract/index.ts';
import { put16, put32 } from '../wire/bytes.ts';

const MAGIC = 0xa1b2_c3d4; // times in microseconds
const LINK_TYPE_ETHERNET = 1;
const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** QEMU's filter-dump default. */
const SNAP_BYTES = 65_536;

export interface DumpOptions {
  readonly wallClock: WallClock;
  /** Takes the file piece by piece; the bytes belong to it. */
  write(bytes: Uint8Array): void;
  /** More of a frame is not recorded. */
  readonly maxBytes?: number;
}

/** The same link, recorded from now on in both directions. */
export function dumpLink(next: NetLink, { wallClock, write, maxBytes = SNAP_BYTES }: DumpOptions): NetLink {
  write(fileHeader(maxBytes));
  const record = (frame: Uint8Array) => write(recordOf(frame, wallClock.nowMillis(), maxBytes));
  return {
    takes: next.takes,
    send(frame, unfinished) {
      record(frame);
      next.send(frame, unfinished);
    },
    connect(receiver) {
      next.connect({
        get takes() {
          return receiver.takes;
        },
        receive(frame, unfinished) {
          const isTaken = receiver.receive(frame, unfinished);
          if (isTaken) record(frame);
          return isTaken;
        },
        carrierChanged: (isUp) => receiver.carrierChanged?.(isUp),
      });
    },
    resume: () => next.resume(),
  };
}

function fileHeader(maxBytes: number): Uint8Array {
  const header = new Uint8Array(FILE_HEADER_BYTES);
  put32(header, 0, MAGIC);
  put16(header, 4, 2);
  put16(header, 6, 4);
  put32(header, 16, maxBytes);
  put32(header, 20, LINK_TYPE_ETHERNET);
  return header;
}

function recordOf(frame: Uint8Array, nowMillis: number, maxBytes: number): Uint8Array {
  const kept = frame.subarray(0, maxBytes);
  const record = new Uint8Array(RECORD_HEADER_BYTES + kept.length);
  put32(record, 0, Math.floor(nowMillis / 1000));
  put32(record, 4, Math.floor((nowMillis % 1000) * 1000));
  put32(record, 8, kept.length);
  put32(record, 12, frame.length);
  record.set(kept, RECORD_HEADER_BYTES);
  return record;
}

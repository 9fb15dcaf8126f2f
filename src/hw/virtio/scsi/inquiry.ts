/** Who a SCSI unit is: INQUIRY and its vital product data (SPC-4, 6.4 and 7.8; SBC-3, 6.5). */
import type { ScsiUnit } from './unit.ts';

const VENDOR = 'VIREO';
const REVISION = '1.0';
/** Peripheral device types (SPC-4, table 60). */
const TYPE = { disk: 0x00, cdrom: 0x05 } as const;
const REMOVABLE = 0x80;
const SPC3 = 5;
/** Of one UNMAP descriptor and of one WRITE SAME. */
export const UNMAP_BLOCKS_MAX = 2 ** 21;
export const UNMAP_DESCRIPTORS_MAX = 255;

/** Returns undefined for a page that the unit has not. */
export function inquiry(unit: ScsiUnit, page: number | undefined): Uint8Array | undefined {
  const type = TYPE[unit.kind];
  if (page === undefined) return standard(unit, type);
  const body = vitalPage(unit, page);
  return body && Uint8Array.of(type, page, body.length >> 8, body.length & 0xff, ...body);
}

function standard({ kind }: ScsiUnit, type: number): Uint8Array {
  const data = new Uint8Array(36);
  data.set([type, kind === 'cdrom' ? REMOVABLE : 0, SPC3, 2, data.length - 5, 0, 0, 0x02]);
  data.set(text(VENDOR, 8), 8);
  data.set(text(kind === 'cdrom' ? 'CD-ROM' : 'HARDDISK', 16), 16);
  data.set(text(REVISION, 4), 32);
  return data;
}

function vitalPage(unit: ScsiUnit, page: number): Uint8Array | undefined {
  const isDisk = unit.kind === 'disk';
  switch (page) {
    case 0x00:
      return Uint8Array.from(isDisk ? [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2] : [0x00, 0x80, 0x83]);
    case 0x80:
      return text(unit.serial, unit.serial.length);
    case 0x83: {
      const name = text(`${VENDOR.padEnd(8)}${unit.serial}`, 8 + unit.serial.length);
      return Uint8Array.of(0x02, 0x01, 0, name.length, ...name); // T10 vendor identification, ASCII
    }
    case 0xb0: {
      if (!isDisk) return undefined;
      const view = new DataView(new ArrayBuffer(60));
      view.setUint16(2, 1); // optimal transfer length granularity, in blocks
      if (unit.canUnmap) {
        view.setUint32(16, UNMAP_BLOCKS_MAX);
        view.setUint32(20, UNMAP_DESCRIPTORS_MAX);
        view.setUint32(24, 1);
      }
      view.setBigUint64(32, BigInt(UNMAP_BLOCKS_MAX)); // maximum WRITE SAME length
      return new Uint8Array(view.buffer);
    }
    case 0xb1: {
      const body = new Uint8Array(60);
      body[1] = 1; // not rotating
      return isDisk ? body : undefined;
    }
    case 0xb2:
      // UNMAP and WRITE SAME (16) with UNMAP; what is unmapped need not read as zeros.
      return isDisk ? Uint8Array.of(0, unit.canUnmap ? 0xc0 : 0, unit.canUnmap ? 2 : 0, 0) : undefined;
    default:
      return undefined;
  }
}

/** ASCII, padded with spaces or cut. */
function text(value: string, length: number): Uint8Array {
  return Uint8Array.from(value.padEnd(length).slice(0, length), (letter) => letter.charCodeAt(0));
}

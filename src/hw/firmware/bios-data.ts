/**
 * The BIOS data area, as far as kernels that were not started by a BIOS still
 * look at it: the serial ports, the extended data area and the size of low RAM
 * (IBM PS/2 and PC BIOS Interface Technical Reference, section 3).
 */
import type { GuestMemory } from '../../contract/index.ts';
import { PORTS } from '../board/memory-map.ts';
import { viewOf } from './bytes.ts';
import { KIB, LOW_MEMORY } from './layout.ts';
import { putBytes } from './load.ts';

const BIOS_DATA = { base: 0x400, size: 0x100 } as const;
const FIELD = { serialPorts: 0x00, extendedDataSegment: 0x0e, baseMemoryKib: 0x13 } as const;

export function putBiosData(memory: GuestMemory): void {
  const { extendedBiosData } = LOW_MEMORY;
  const bytes = new Uint8Array(BIOS_DATA.size);
  const view = viewOf(bytes);
  for (const [index, { base }] of [PORTS.com1, PORTS.com2, PORTS.com3, PORTS.com4].entries()) {
    view.setUint16(FIELD.serialPorts + index * 2, base, true);
  }
  view.setUint16(FIELD.extendedDataSegment, extendedBiosData.base >> 4, true);
  view.setUint16(FIELD.baseMemoryKib, extendedBiosData.base / KIB, true);
  putBytes(memory, BIOS_DATA.base, bytes);
  // The extended area begins with its size in KiB.
  putBytes(memory, extendedBiosData.base, Uint8Array.of(extendedBiosData.size / KIB));
}

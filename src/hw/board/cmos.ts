/** What a PC's firmware expects to find in CMOS memory about RAM, as QEMU fills it in. */
import { ramRegions } from './memory-map.ts';

const KIB = 1024;
const CHUNK = 64 * KIB;
const MIB = 1024 * KIB;
const EQUIPMENT = 0x14;
const FPU_PRESENT = 0x02;
const BASE_MEMORY = 0x15;
const EXTENDED_MEMORY = [0x17, 0x30];
const ABOVE_16_MIB = 0x34;
const ABOVE_4_GIB = 0x5b;

/** CMOS bytes by address. */
export function cmosContents(ramBytes: number): Map<number, number> {
  const [low, high] = ramRegions(ramBytes);
  const cmos = new Map([[EQUIPMENT, FPU_PRESENT]]);
  const put = (address: number, value: number, size: number) => {
    const limited = Math.min(Math.max(0, Math.floor(value)), 2 ** (8 * size) - 1);
    for (let i = 0; i < size; i++) cmos.set(address + i, Math.floor(limited / 2 ** (8 * i)) & 0xff);
  };
  put(BASE_MEMORY, Math.min(640, low.size / KIB), 2);
  for (const address of EXTENDED_MEMORY) put(address, (low.size - MIB) / KIB, 2);
  put(ABOVE_16_MIB, (low.size - 16 * MIB) / CHUNK, 2);
  put(ABOVE_4_GIB, (high?.size ?? 0) / CHUNK, 3);
  return cmos;
}

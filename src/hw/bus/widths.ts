/** Devices whose registers have one width, behind a bus that has three. */
import type { AccessSize, BusDevice } from '../../contract/index.ts';

/** A device of byte registers: 8-bit ISA chips. Wider accesses become bytes, lowest port first. */
export interface ByteRegisters {
  readByte(offset: number): number;
  writeByte(offset: number, value: number): void;
}

/** A device of 32-bit registers at multiples of 4. */
export interface DwordRegisters {
  readDword(offset: number): number;
  writeDword(offset: number, value: number): void;
}

export function byteWide(device: ByteRegisters): BusDevice {
  return {
    read(offset, size) {
      if (size === 1) return device.readByte(offset);
      let value = 0;
      for (let i = 0; i < size; i++) value |= device.readByte(offset + i) << (i * 8);
      return value >>> 0;
    },
    write(offset, size, value) {
      for (let i = 0; i < size; i++) device.writeByte(offset + i, (value >>> (i * 8)) & 0xff);
    },
  };
}

/** Narrow reads take their bytes from the register; narrow writes are dropped (Intel SDM vol. 3, 11.4.1). */
export function dwordWide(device: DwordRegisters): BusDevice {
  return {
    read(offset, size) {
      if (size === 4 && (offset & 3) === 0) return device.readDword(offset);
      return readUnaligned(device, offset, size);
    },
    write(offset, size, value) {
      if (size === 4 && (offset & 3) === 0) device.writeDword(offset, value >>> 0);
    },
  };
}

function readUnaligned(device: DwordRegisters, offset: number, size: AccessSize): number {
  const shift = (offset & 3) * 8;
  const low = device.readDword(offset & ~3) >>> shift;
  const crosses = shift + size * 8 > 32;
  const value = crosses ? low | (device.readDword((offset & ~3) + 4) << (32 - shift)) : low;
  return size === 4 ? value >>> 0 : value & ((1 << (size * 8)) - 1);
}

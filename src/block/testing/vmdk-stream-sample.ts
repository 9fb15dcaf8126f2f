/** A stream-optimized VMDK as VMware's tools write it: grains as they come, the tables and a second header at the end. */
import { deflateSync } from 'node:zlib';

const GRAIN_BYTES = 65_536;
const AT_END = 2n ** 64n - 1n;

function header(sectors: number, directory: bigint): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.write('KDMV');
  bytes.writeUInt32LE(3, 4);
  bytes.writeUInt32LE(0x30001, 8);
  for (const [i, value] of [sectors, 128, 1, 20].entries()) bytes.writeBigUInt64LE(BigInt(value), 12 + i * 8);
  bytes.writeUInt32LE(512, 44);
  bytes.writeBigUInt64LE(directory, 56);
  bytes.writeBigUInt64LE(128n, 64);
  bytes.set([0x0a, 0x20, 0x0d, 0x0a], 73);
  bytes.writeUInt16LE(1, 77);
  return bytes;
}

function marker(sectors: number, type: number): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.writeBigUInt64LE(BigInt(sectors));
  bytes.writeUInt32LE(type, 12);
  return bytes;
}

/** `disk` has at most 512 grains; those of zeros are left out. */
export function vmdkStreamSample(disk: Uint8Array, filename: string): Uint8Array {
  const sectors = disk.length / 512;
  const descriptor = Buffer.alloc(20 * 512);
  descriptor.write(
    `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="streamOptimized"\n\nRW ${sectors} SPARSE "${filename}"\n\nddb.adapterType = "lsilogic"\n`,
  );
  const parts: Buffer[] = [header(sectors, AT_END), descriptor, Buffer.alloc((128 - 21) * 512)];
  const table = Buffer.alloc(512 * 4);
  let at = 128;
  const add = (part: Buffer) => {
    parts.push(part, Buffer.alloc((512 - (part.length % 512)) % 512));
    at += Math.ceil(part.length / 512);
  };
  for (let start = 0; start < disk.length; start += GRAIN_BYTES) {
    // The last grain is stored whole, though the disk ends inside of it.
    const grain = Buffer.alloc(GRAIN_BYTES);
    grain.set(disk.subarray(start, start + GRAIN_BYTES));
    if (grain.every((byte) => byte === 0)) continue;
    const packed = deflateSync(grain);
    const head = Buffer.alloc(12);
    head.writeBigUInt64LE(BigInt(start / 512));
    head.writeUInt32LE(packed.length, 8);
    table.writeUInt32LE(at, (start / GRAIN_BYTES) * 4);
    add(Buffer.concat([head, packed]));
  }
  add(marker(4, 1));
  const directory = Buffer.alloc(512);
  directory.writeUInt32LE(at);
  add(table);
  add(marker(1, 2));
  const directoryAt = at;
  add(directory);
  add(marker(1, 3));
  add(header(sectors, BigInt(directoryAt)));
  add(marker(0, 0));
  return Buffer.concat(parts);
}

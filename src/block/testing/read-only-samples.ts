/** Images of the formats that are only read, made as their specifications say. */
import { deflateSync } from 'node:zlib';

/** Three kinds of content in turn: one byte all over, noise, zeros. */
export function sampleDisk(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0, state = 1; at < sizeBytes; at += 1) {
    const kind = Math.floor(at / 40_960) % 3;
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    if (kind === 0) bytes[at] = 0x5a;
    else if (kind === 1) bytes[at] = state >> 16;
  }
  return bytes;
}

export function cloopSample(disk: Uint8Array, blockBytes: number): Uint8Array {
  const script = '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\nexit $?\n';
  const blocks = Array.from({ length: disk.length / blockBytes }, (_, i) =>
    deflateSync(disk.subarray(i * blockBytes, (i + 1) * blockBytes)),
  );
  const head = new Uint8Array(136 + (blocks.length + 1) * 8);
  head.set(new TextEncoder().encode(script));
  const view = new DataView(head.buffer);
  view.setUint32(128, blockBytes);
  view.setUint32(132, blocks.length);
  let at = head.length;
  for (let i = 0; i <= blocks.length; i += 1) {
    view.setBigUint64(136 + i * 8, BigInt(at));
    at += blocks[i]?.length ?? 0;
  }
  return Buffer.concat([head, ...blocks]);
}

export function bochsSample(disk: Uint8Array, version: 1 | 2): Uint8Array {
  const extentBytes = 16_384;
  const bitmapBytes = extentBytes / 512 / 8;
  const count = Math.ceil(disk.length / extentBytes);
  const head = new Uint8Array(512);
  const view = new DataView(head.buffer);
  head.set(new TextEncoder().encode('Bochs Virtual HD Image'));
  head.set(new TextEncoder().encode('Redolog'), 32);
  head.set(new TextEncoder().encode('Growing'), 48);
  for (const [i, value] of [version * 0x10000, 512, count, bitmapBytes, extentBytes].entries()) {
    view.setUint32(64 + i * 4, value, true);
  }
  view.setBigUint64(version === 2 ? 88 : 84, BigInt(disk.length), true);
  const catalog = new Uint8Array(count * 4).fill(0xff);
  const parts: Uint8Array[] = [];
  // From the last extent on: places need not be in the disk's order.
  for (let extent = count - 1; extent >= 0; extent -= 1) {
    const content = new Uint8Array(extentBytes);
    content.set(disk.subarray(extent * extentBytes, (extent + 1) * extentBytes));
    if (content.every((byte) => byte === 0)) continue;
    const bitmap = new Uint8Array(512);
    for (let sector = 0; sector < extentBytes / 512; sector += 1) {
      if (content.subarray(sector * 512, sector * 512 + 512).some((byte) => byte !== 0)) {
        bitmap[sector >> 3] |= 1 << (sector & 7);
      }
    }
    new DataView(catalog.buffer).setUint32(extent * 4, parts.length / 2, true);
    parts.push(bitmap, content);
  }
  return Buffer.concat([head, catalog, ...parts]);
}

export const DMG_ZLIB = 0x80000005;
export const DMG_ADC = 0x80000004;

/** Literal runs only, and a copy wherever a run of one byte is longer than 4. */
export function packAdc(source: Uint8Array): Uint8Array {
  const packed: number[] = [];
  for (let at = 0; at < source.length; ) {
    let run = 1;
    while (run < 68 && at + run < source.length && source[at + run] === source[at]) run += 1;
    packed.push(0x80, source[at]);
    at += 1;
    // A copy of at least 4 bytes from one byte back; of 3 to 18 in the short form.
    if (run - 1 >= 19) packed.push(0x40 | (run - 1 - 4), 0, 0);
    else if (run - 1 >= 3) packed.push((run - 1 - 3) << 2, 0);
    else continue;
    at += run - 1;
  }
  return Uint8Array.from(packed);
}

/** One partition, chunks of `chunkBytes`: raw ones in turn with `packed` ones, zeros where the disk is zeros. */
export function dmgSample(disk: Uint8Array, chunkBytes: number, packedType: number): Uint8Array {
  const parts: Uint8Array[] = [];
  const rows: { type: number; first: number; sectors: number; at: number; length: number }[] = [];
  let at = 0;
  for (let start = 0; start < disk.length; start += chunkBytes) {
    const content = disk.subarray(start, start + chunkBytes);
    const isZero = content.every((byte) => byte === 0);
    const type = isZero ? 2 : rows.length % 4 === 3 ? 1 : packedType;
    const stored = isZero
      ? new Uint8Array(0)
      : type === 1
        ? content
        : type === DMG_ADC
          ? packAdc(content)
          : deflateSync(content);
    rows.push({ type, first: start / 512, sectors: content.length / 512, at, length: stored.length });
    parts.push(stored);
    at += stored.length;
  }
  rows.push({ type: 0xffffffff, first: disk.length / 512, sectors: 0, at, length: 0 });
  const table = new Uint8Array(204 + rows.length * 40);
  const view = new DataView(table.buffer);
  view.setUint32(0, 0x6d697368);
  view.setUint32(4, 1);
  view.setBigUint64(16, BigInt(disk.length / 512));
  view.setUint32(200, rows.length);
  for (const [i, row] of rows.entries()) {
    view.setUint32(204 + i * 40, row.type);
    for (const [j, value] of [row.first, row.sectors, row.at, row.length].entries()) {
      view.setBigUint64(204 + i * 40 + 8 + j * 8, BigInt(value));
    }
  }
  const data = Buffer.from(table).toString('base64').replace(/.{52}/g, '$&\n\t\t\t\t');
  const list = `<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0">\n<dict>\n\t<key>resource-fork</key>\n\t<dict>\n\t\t<key>blkx</key>\n\t\t<array>\n\t\t\t<dict>\n\t\t\t\t<key>Attributes</key>\n\t\t\t\t<string>0x0050</string>\n\t\t\t\t<key>Data</key>\n\t\t\t\t<data>\n\t\t\t\t${data}\n\t\t\t\t</data>\n\t\t\t</dict>\n\t\t</array>\n\t</dict>\n</dict>\n</plist>\n`;
  const trailer = new Uint8Array(512);
  const end = new DataView(trailer.buffer);
  end.setUint32(0, 0x6b6f6c79);
  end.setUint32(4, 4);
  end.setUint32(8, 512);
  end.setBigUint64(32, BigInt(at));
  end.setUint32(60, 1);
  end.setBigUint64(216, BigInt(at));
  end.setBigUint64(224, BigInt(list.length));
  end.setBigUint64(492, BigInt(disk.length / 512));
  return Buffer.concat([...parts, Buffer.from(list), trailer]);
}

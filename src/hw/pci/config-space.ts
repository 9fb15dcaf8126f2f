/** The 256 bytes of a PCI function's configuration space, from rows: PCI Local Bus 3.0, chapter 6. */
import { InternalError } from '../../base/index.ts';

export const CONFIG_BYTES = 256;

/** One register of the configuration space. */
export interface ConfigRow {
  readonly name: string;
  readonly offset: number;
  /** In bytes. */
  readonly width: 1 | 2 | 3 | 4;
  readonly initial?: number;
  /** Bits that the guest may write. */
  readonly writable?: number;
  /** Bits that a written 1 clears. */
  readonly clearable?: number;
}

/** Rows laid out as bytes. */
export interface ConfigLayout {
  readonly initial: Uint8Array;
  readonly writable: Uint8Array;
  readonly clearable: Uint8Array;
}

export function configLayout(rows: readonly ConfigRow[]): ConfigLayout {
  const layout = {
    initial: new Uint8Array(CONFIG_BYTES),
    writable: new Uint8Array(CONFIG_BYTES),
    clearable: new Uint8Array(CONFIG_BYTES),
  };
  const owner: (string | undefined)[] = [];
  for (const row of rows) {
    for (let i = 0; i < row.width; i++) {
      const at = row.offset + i;
      if (at >= CONFIG_BYTES || owner[at] !== undefined) {
        throw new InternalError(`PCI register ${row.name} overlaps ${owner[at] ?? 'the end of the space'}`);
      }
      owner[at] = row.name;
      layout.initial[at] = (row.initial ?? 0) >>> (8 * i);
      layout.writable[at] = (row.writable ?? 0) >>> (8 * i);
      layout.clearable[at] = (row.clearable ?? 0) >>> (8 * i);
    }
  }
  return layout;
}

export function readLittleEndian(bytes: Uint8Array, offset: number, size: number): number {
  let value = 0;
  for (let i = 0; i < size; i++) value |= (bytes[offset + i] ?? 0xff) << (i * 8);
  return value >>> 0;
}

/**
 * On-disk structures as tables: each field has a codec of fixed size; reading,
 * writing, the size and the TypeScript type all come from the table.
 */
import { invariant } from '../base/index.ts';

export interface FieldCodec<T> {
  readonly size: number;
  get(view: DataView, offset: number): T;
  put(view: DataView, offset: number, value: T): void;
}

type Fields = { readonly [name: string]: FieldCodec<never> | FieldCodec<unknown> };
type ValueOf<F> = { -readonly [K in keyof F]: F[K] extends FieldCodec<infer T> ? T : never };

/** A structure without padding: fields follow each other in the table's order. */
export interface Layout<T> extends FieldCodec<T> {
  read(bytes: Uint8Array, offset?: number): T;
  write(value: T): Uint8Array<ArrayBuffer>;
  /** Where a field begins. */
  offsetOf(name: keyof T): number;
}

export type LayoutOf<L> = L extends FieldCodec<infer T> ? T : never;

const TWO_32 = 2 ** 32;

export function layout<F extends Fields>(fields: F): Layout<ValueOf<F>> {
  type Value = ValueOf<F>;
  let size = 0;
  const rows = Object.entries(fields).map(([name, codec]) => {
    const row = { name, codec: codec as FieldCodec<unknown>, offset: size };
    size += codec.size;
    return row;
  });
  const get = (view: DataView, offset: number) =>
    Object.fromEntries(rows.map((row) => [row.name, row.codec.get(view, offset + row.offset)])) as Value;
  const put = (view: DataView, offset: number, value: Value) => {
    for (const row of rows) row.codec.put(view, offset + row.offset, value[row.name]);
  };
  return {
    size,
    get,
    put,
    read: (bytes, offset = 0) => get(viewOf(bytes), offset),
    write(value) {
      const bytes = new Uint8Array(size);
      put(viewOf(bytes), 0, value);
      return bytes;
    },
    offsetOf(name) {
      const row = rows.find((candidate) => candidate.name === name);
      invariant(row !== undefined, `the layout has no field ${String(name)}`);
      return row.offset;
    },
  };
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export const u8: FieldCodec<number> = {
  size: 1,
  get: (view, offset) => view.getUint8(offset),
  put: (view, offset, value) => view.setUint8(offset, value),
};

function integer(size: 2 | 4, littleEndian: boolean): FieldCodec<number> {
  return size === 2
    ? {
        size,
        get: (view, offset) => view.getUint16(offset, littleEndian),
        put: (view, offset, value) => view.setUint16(offset, value, littleEndian),
      }
    : {
        size,
        get: (view, offset) => view.getUint32(offset, littleEndian),
        put: (view, offset, value) => view.setUint32(offset, value, littleEndian),
      };
}

/** An unsigned 64-bit value as a number: above 2^53 it is only near, so check it against a limit before use. */
function large(littleEndian: boolean): FieldCodec<number> {
  const [low, high] = littleEndian ? [0, 4] : [4, 0];
  return {
    size: 8,
    get: (view, offset) =>
      view.getUint32(offset + high, littleEndian) * TWO_32 + view.getUint32(offset + low, littleEndian),
    put(view, offset, value) {
      view.setUint32(offset + high, Math.floor(value / TWO_32), littleEndian);
      view.setUint32(offset + low, value % TWO_32, littleEndian);
    },
  };
}

export const u16be: FieldCodec<number> = integer(2, false);
export const u32be: FieldCodec<number> = integer(4, false);
export const u64be: FieldCodec<number> = large(false);
export const u16le: FieldCodec<number> = integer(2, true);
export const u32le: FieldCodec<number> = integer(4, true);
export const u64le: FieldCodec<number> = large(true);

/** A set of 64 flags, exact. */
export const flags64be: FieldCodec<bigint> = {
  size: 8,
  get: (view, offset) => view.getBigUint64(offset),
  put: (view, offset, value) => view.setBigUint64(offset, value),
};

/** Exactly `size` bytes, copied. */
export function bytesOf(size: number): FieldCodec<Uint8Array> {
  return {
    size,
    get: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, size).slice(),
    put: (view, offset, value) => new Uint8Array(view.buffer, view.byteOffset + offset, size).set(value),
  };
}

/** The parts one after the other, then zeros up to `totalBytes`. */
export function joinBytes(parts: readonly Uint8Array[], totalBytes?: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(totalBytes ?? parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

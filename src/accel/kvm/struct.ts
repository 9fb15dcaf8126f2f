/** C structures as tables: one row a field, in the order of the header; natural alignment, little endian (x86-64 psABI, 3.1.2). */

export interface CType<T> {
  readonly size: number;
  readonly align: number;
  read(view: DataView, at: number): T;
  write(view: DataView, at: number, value: T): void;
}

type Fields = { readonly [name: string]: CType<unknown> };
type Values<F extends Fields> = { -readonly [K in keyof F]: ValueOf<F[K]> };

/** A structure's codec, and where its fields lie. */
export interface CStruct<T> extends CType<T> {
  readonly offsets: { readonly [K in keyof T]: number };
  /** What `value` leaves out stays as it was. */
  write(view: DataView, at: number, value: Partial<T>): void;
  /** A fresh structure of `size` bytes; what `value` leaves out is zero. */
  encode(value: Partial<T>): Uint8Array<ArrayBuffer>;
  decode(bytes: Uint8Array): T;
}

export type ValueOf<C> = C extends { read(view: DataView, at: number): infer T } ? T : never;

const number = (size: number, get: 'getUint8' | 'getUint16' | 'getUint32' | 'getInt32'): CType<number> => ({
  size,
  align: size,
  read: (view, at) => view[get](at, true),
  write: (view, at, value) => view[get.replace('get', 'set') as 'setUint32'](at, value, true),
});

export const u8: CType<number> = number(1, 'getUint8');
export const u16: CType<number> = number(2, 'getUint16');
export const u32: CType<number> = number(4, 'getUint32');
export const i32: CType<number> = number(4, 'getInt32');
export const u64: CType<bigint> = {
  size: 8,
  align: 8,
  read: (view, at) => view.getBigUint64(at, true),
  write: (view, at, value) => view.setBigUint64(at, value, true),
};
export const i64: CType<bigint> = {
  size: 8,
  align: 8,
  read: (view, at) => view.getBigInt64(at, true),
  write: (view, at, value) => view.setBigInt64(at, value, true),
};

/** `length` bytes as they are. */
export function bytes(length: number): CType<Uint8Array> {
  return {
    size: length,
    align: 1,
    read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, length).slice(),
    write: (view, at, value) =>
      new Uint8Array(view.buffer, view.byteOffset + at, length).set(value.subarray(0, length)),
  };
}

export function array<T>(length: number, type: CType<T>): CType<T[]> {
  return {
    size: length * type.size,
    align: type.align,
    read: (view, at) => Array.from({ length }, (_, i) => type.read(view, at + i * type.size)),
    write(view, at, values) {
      for (const [i, value] of values.slice(0, length).entries()) type.write(view, at + i * type.size, value);
    },
  };
}

/** `size`: of the whole structure, when the header pads its end. */
export function struct<const F extends Fields>(fields: F, size?: number): CStruct<Values<F>> {
  let end = 0;
  let align = 1;
  const places = Object.entries(fields).map(([name, type]) => {
    const offset = alignUp(end, type.align);
    end = offset + type.size;
    align = Math.max(align, type.align);
    return { name, type, offset };
  });
  const total = alignUp(Math.max(end, size ?? 0), align);
  type T = Values<F>;
  const read = (view: DataView, at: number) =>
    Object.fromEntries(places.map(({ name, type, offset }) => [name, type.read(view, at + offset)])) as T;
  const write = (view: DataView, at: number, value: Partial<T>) => {
    for (const { name, type, offset } of places) {
      if (value[name] !== undefined) type.write(view, at + offset, value[name]);
    }
  };
  return {
    size: total,
    align,
    offsets: Object.fromEntries(places.map(({ name, offset }) => [name, offset])) as CStruct<T>['offsets'],
    read,
    write,
    encode(value) {
      const target = new Uint8Array(total);
      write(viewOf(target), 0, value);
      return target;
    },
    decode: (source) => read(viewOf(source), 0),
  };
}

export function viewOf(source: Uint8Array): DataView {
  return new DataView(source.buffer, source.byteOffset, source.byteLength);
}

function alignUp(value: number, align: number): number {
  return Math.ceil(value / align) * align;
}

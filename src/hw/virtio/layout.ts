/** Little-endian structures as tables: configuration spaces and request headers (VIRTIO 1.2, 1.4). */

const WIDTHS = { u8: 1, u16: 2, u32: 4, u64: 8 } as const;
export type FieldType = keyof typeof WIDTHS;
export type Fields = { readonly [name: string]: FieldType };
export type Values<F extends Fields> = { -readonly [Name in keyof F]: number };

export interface Layout<F extends Fields> {
  readonly length: number;
  readonly offsets: { readonly [Name in keyof F]: number };
  /** Values that are not given are 0. */
  encode(values: Partial<Values<F>>): Uint8Array<ArrayBuffer>;
  /** The fields of `bytes`, which is `length` long. A u64 above 2^53 loses its low bits. */
  decode(bytes: Uint8Array): Values<F>;
}

/** A structure whose fields follow one another without gaps. */
export function layout<const F extends Fields>(fields: F): Layout<F> {
  const rows: { name: keyof F & string; type: FieldType; offset: number }[] = [];
  let length = 0;
  for (const [name, type] of Object.entries(fields)) {
    rows.push({ name, type, offset: length });
    length += WIDTHS[type];
  }
  return {
    length,
    offsets: Object.fromEntries(rows.map(({ name, offset }) => [name, offset])) as Layout<F>['offsets'],
    encode(values) {
      const view = new DataView(new ArrayBuffer(length));
      for (const { name, type, offset } of rows) put(view, offset, type, values[name] ?? 0);
      return new Uint8Array(view.buffer);
    },
    decode(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const values: Record<string, number> = {};
      for (const { name, type, offset } of rows) values[name] = get(view, offset, type);
      return values as Values<F>;
    },
  };
}

function put(view: DataView, offset: number, type: FieldType, value: number): void {
  if (type === 'u8') view.setUint8(offset, value);
  else if (type === 'u16') view.setUint16(offset, value, true);
  else view.setUint32(offset, value % 2 ** 32, true);
  if (type === 'u64') view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

function get(view: DataView, offset: number, type: FieldType): number {
  switch (type) {
    case 'u8':
      return view.getUint8(offset);
    case 'u16':
      return view.getUint16(offset, true);
    case 'u32':
      return view.getUint32(offset, true);
    case 'u64':
      return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
  }
}

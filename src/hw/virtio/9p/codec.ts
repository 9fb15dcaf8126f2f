/** 9P's types on the wire (intro(9P)): little-endian numbers, counted strings of bytes, qids. */

export interface Qid {
  /** What kind of file: `QID_TYPE`. */
  readonly type: number;
  readonly version: number;
  readonly path: bigint;
}
export const QID_TYPE = { folder: 0x80, symlink: 0x02, file: 0x00 } as const;
export const QID_BYTES = 13;

/** Names in one walk, at most (walk(9P)). */
export const WALK_NAMES_MAX = 16;

/** TypeScript's type of each type of the wire; strings have one character a byte. */
export interface WireTypes {
  u8: number;
  u16: number;
  u32: number;
  u64: bigint;
  string: string;
  qid: Qid;
  /** A count of 16 bits and so many strings. */
  names: readonly string[];
  qids: readonly Qid[];
  /** A count of 32 bits and so many bytes; when read, a view of the message. */
  data: Uint8Array;
  /** A count of 16 bits and so many bytes. */
  shortData: Uint8Array;
}
export type WireType = keyof WireTypes;
export type Fields = { readonly [name: string]: WireType };
export type ValuesOf<F extends Fields> = { readonly [Name in keyof F]: WireTypes[F[Name]] };

/** A message that is not what its type says. */
export class MalformedMessage extends Error {
  override name = 'MalformedMessage';
}

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = at;
  }

  /** @throws MalformedMessage when the message ends too early */
  read<T extends WireType>(type: T): WireTypes[T] {
    return READ[type](this) as WireTypes[T];
  }

  fields<F extends Fields>(fields: F): ValuesOf<F> {
    const values: Record<string, unknown> = {};
    for (const name in fields) values[name] = this.read(fields[name]);
    return values as ValuesOf<F>;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8), true);
  }
  bytes(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }
  string(): string {
    const bytes = this.bytes(this.u16());
    return bytes.length === 0 ? '' : String.fromCharCode.apply(undefined, bytes as unknown as number[]);
  }

  #advance(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length) throw new MalformedMessage(`ends before its byte ${at + count}`);
    this.#at = at + count;
    return at;
  }
}

const READ: { readonly [T in WireType]: (reader: Reader) => WireTypes[T] } = {
  u8: (reader) => reader.u8(),
  u16: (reader) => reader.u16(),
  u32: (reader) => reader.u32(),
  u64: (reader) => reader.u64(),
  string: (reader) => reader.string(),
  qid: (reader) => ({ type: reader.u8(), version: reader.u32(), path: reader.u64() }),
  names(reader) {
    const count = reader.u16();
    if (count > WALK_NAMES_MAX) throw new MalformedMessage(`walks ${count} names, over ${WALK_NAMES_MAX}`);
    return Array.from({ length: count }, () => reader.string());
  },
  qids(reader) {
    const count = reader.u16();
    if (count > WALK_NAMES_MAX) throw new MalformedMessage(`has ${count} qids, over ${WALK_NAMES_MAX}`);
    return Array.from({ length: count }, () => READ.qid(reader));
  },
  data: (reader) => reader.bytes(reader.u32()),
  shortData: (reader) => reader.bytes(reader.u16()),
};

/** Writes into a buffer that grows as it must. */
export class Writer {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #at = 0;

  constructor(roomBytes = 256) {
    this.#bytes = new Uint8Array(roomBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#at;
  }

  write<T extends WireType>(type: T, value: WireTypes[T]): void {
    WRITE[type](this, value);
  }

  fields<F extends Fields>(fields: F, values: ValuesOf<F>): void {
    for (const name in fields) this.write(fields[name], values[name]);
  }

  u8(value: number): void {
    const at = this.#advance(1); // the view may be another one after this
    this.#view.setUint8(at, value);
  }
  u16(value: number): void {
    const at = this.#advance(2); // the view may be another one after this
    this.#view.setUint16(at, value, true);
  }
  u32(value: number): void {
    const at = this.#advance(4); // the view may be another one after this
    this.#view.setUint32(at, value, true);
  }
  u64(value: bigint): void {
    const at = this.#advance(8); // the view may be another one after this
    this.#view.setBigUint64(at, value, true);
  }
  bytes(value: Uint8Array): void {
    const at = this.#advance(value.length);
    this.#bytes.set(value, at);
  }
  string(value: string): void {
    this.u16(value.length);
    const at = this.#advance(value.length);
    for (let i = 0; i < value.length; i++) this.#bytes[at + i] = value.charCodeAt(i);
  }
  /** A number of 32 bits that is known only now, at a place that was written before. */
  patch(offset: number, value: number): void {
    this.#view.setUint32(offset, value, true);
  }

  /** What was written, without a copy. */
  result(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  #advance(count: number): number {
    const at = this.#at;
    this.#at += count;
    if (this.#at > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#at, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

const WRITE: { readonly [T in WireType]: (writer: Writer, value: WireTypes[T]) => void } = {
  u8: (writer, value) => writer.u8(value),
  u16: (writer, value) => writer.u16(value),
  u32: (writer, value) => writer.u32(value),
  u64: (writer, value) => writer.u64(value),
  string: (writer, value) => writer.string(value),
  qid(writer, { type, version, path }) {
    writer.u8(type);
    writer.u32(version);
    writer.u64(path);
  },
  names(writer, value) {
    writer.u16(value.length);
    for (const name of value) writer.string(name);
  },
  qids(writer, value) {
    writer.u16(value.length);
    for (const qid of value) WRITE.qid(writer, qid);
  },
  data(writer, value) {
    writer.u32(value.length);
    writer.bytes(value);
  },
  shortData(writer, value) {
    writer.u16(value.length);
    writer.bytes(value);
  },
};

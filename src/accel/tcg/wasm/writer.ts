/** Bytes of a WebAssembly module (core specification 2.0, chapter 5). */
import type { ValueType } from '../../../target/index.ts';

export const typeCode: Record<ValueType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** A growing byte buffer with LEB128 writers. */
export class ByteWriter {
  bytes: Uint8Array = new Uint8Array(256);
  length = 0;

  u8(value: number): void {
    if (this.length === this.bytes.length) this.grow(this.length + 1);
    this.bytes[this.length++] = value;
  }

  append(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.bytes.length) this.grow(this.length + bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  unsigned(value: number): void {
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.u8((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.u8(rest);
  }

  signed32(value: number): void {
    let rest = value | 0;
    for (;;) {
      const byte = rest & 0x7f;
      rest >>= 7;
      const isLast = (rest === 0 && !(byte & 0x40)) || (rest === -1 && (byte & 0x40) !== 0);
      this.u8(isLast ? byte : byte | 0x80);
      if (isLast) return;
    }
  }

  signed64(value: bigint): void {
    if (value >= -0x80000000n && value <= 0x7fffffffn) {
      this.signed32(Number(value));
      return;
    }
    let rest = value;
    for (;;) {
      const byte = Number(rest & 0x7fn);
      rest >>= 7n;
      const isLast = (rest === 0n && !(byte & 0x40)) || (rest === -1n && (byte & 0x40) !== 0);
      this.u8(isLast ? byte : byte | 0x80);
      if (isLast) return;
    }
  }

  name(text: string): void {
    this.unsigned(text.length);
    for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i));
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.length) as Uint8Array<ArrayBuffer>;
  }

  private grow(needed: number): void {
    const next = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    next.set(this.bytes.subarray(0, this.length));
    this.bytes = next;
  }
}

export interface FunctionType {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/** Of one function. */
export interface FunctionBody {
  /** Locals and code, as a code-section entry without its size. */
  readonly bytes: Uint8Array;
  /** Offsets in `bytes` of the branches that are hardly ever taken, ascending. */
  readonly unlikely: readonly number[];
}

interface FunctionImport {
  readonly module: string;
  readonly name: string;
  readonly type: number;
}

/** A module with one imported shared memory, at most one imported table, imported and own functions. */
export class ModuleBuilder {
  private readonly types: FunctionType[] = [];
  private readonly typeIndex = new Map<string, number>();
  private readonly imports: FunctionImport[] = [];
  private readonly functions: { type: number; body: FunctionBody | undefined }[] = [];
  private readonly exports: { name: string; index: number }[] = [];
  private readonly memoryPages: { initial: number; maximum: number };

  /** @param memoryPages limits of the imported memory `env.memory`, in 64 KiB pages */
  constructor(memoryPages: { initial: number; maximum: number }) {
    this.memoryPages = memoryPages;
  }

  type(type: FunctionType): number {
    const key = `${type.params.join()}>${type.results.join()}`;
    let index = this.typeIndex.get(key);
    if (index === undefined) {
      index = this.types.length;
      this.types.push(type);
      this.typeIndex.set(key, index);
    }
    return index;
  }

  /** All imports must be added before the first own function. Returns the function index. */
  importFunction(module: string, name: string, type: FunctionType): number {
    if (this.functions.length) throw new Error('imports come before functions');
    this.imports.push({ module, name, type: this.type(type) });
    return this.imports.length - 1;
  }

  /** Reserves a function index; its body is given later, so that functions can call each other. */
  declareFunction(type: FunctionType): number {
    this.functions.push({ type: this.type(type), body: undefined });
    return this.imports.length + this.functions.length - 1;
  }

  defineFunction(index: number, body: FunctionBody): void {
    this.functions[index - this.imports.length].body = body;
  }

  exportFunction(name: string, index: number): void {
    this.exports.push({ name, index });
  }

  finish(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter();
    for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.u8(byte);
    this.section(out, 1, (w) => {
      w.unsigned(this.types.length);
      for (const t of this.types) {
        w.u8(0x60);
        w.unsigned(t.params.length);
        for (const p of t.params) w.u8(typeCode[p]);
        w.unsigned(t.results.length);
        for (const r of t.results) w.u8(typeCode[r]);
      }
    });
    this.section(out, 2, (w) => {
      w.unsigned(this.imports.length + 2);
      for (const i of this.imports) {
        w.name(i.module);
        w.name(i.name);
        w.u8(0);
        w.unsigned(i.type);
      }
      w.name('env');
      w.name('memory');
      w.u8(2);
      w.u8(3); // shared, with a maximum
      w.unsigned(this.memoryPages.initial);
      w.unsigned(this.memoryPages.maximum);
      w.name('env');
      w.name('table');
      w.u8(1);
      w.u8(0x70);
      w.u8(0);
      w.unsigned(0);
    });
    this.section(out, 3, (w) => {
      w.unsigned(this.functions.length);
      for (const f of this.functions) w.unsigned(f.type);
    });
    this.section(out, 7, (w) => {
      w.unsigned(this.exports.length);
      for (const e of this.exports) {
        w.name(e.name);
        w.u8(0);
        w.unsigned(e.index);
      }
    });
    if (this.functions.some((f) => f.body?.unlikely.length)) this.section(out, 0, (w) => this.branchHints(w));
    this.section(out, 10, (w) => {
      w.unsigned(this.functions.length);
      for (const f of this.functions) {
        if (!f.body) throw new Error('a declared function has no body');
        w.unsigned(f.body.bytes.length);
        w.append(f.body.bytes);
      }
    });
    return out.finish();
  }

  /** The custom section of the branch hinting proposal. */
  private branchHints(w: ByteWriter): void {
    w.name('metadata.code.branch_hint');
    const hinted = this.functions.flatMap(({ body }, i) => (body?.unlikely.length ? [{ i, body }] : []));
    w.unsigned(hinted.length);
    for (const { i, body } of hinted) {
      w.unsigned(this.imports.length + i);
      w.unsigned(body.unlikely.length);
      for (const at of body.unlikely) {
        w.unsigned(at);
        w.unsigned(1);
        w.u8(0);
      }
    }
  }

  private section(out: ByteWriter, id: number, write: (w: ByteWriter) => void): void {
    const content = new ByteWriter();
    write(content);
    out.u8(id);
    out.unsigned(content.length);
    out.append(content.bytes.subarray(0, content.length));
  }
}

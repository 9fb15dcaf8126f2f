/**
 * A stream of JSON values, one after another, as bytes come: nothing is assumed
 * about where a read ends. A fault costs one error; reading goes on after the
 * next control character, so a client that lost its way finds back by a newline.
 */
import { JsonError, parseJson } from './parse.ts';

export type Decoded = { readonly value: unknown } | { readonly error: string };

export interface DecoderLimits {
  readonly messageBytes: number;
  readonly depth: number;
}

export const DECODER_LIMITS: DecoderLimits = { messageBytes: 16 * 1024 * 1024, depth: 1024 };

const BACKSLASH = 0x5c;
const QUOTES = [0x22, 0x27];
const OPENING = [0x7b, 0x5b];
const CLOSING = [0x7d, 0x5d];
/** Letters, digits and what else stands in numbers and words. */
const isPlain = (byte: number) =>
  (byte >= 0x30 && byte <= 0x39) ||
  (byte >= 0x61 && byte <= 0x7a) ||
  (byte >= 0x41 && byte <= 0x5a) ||
  byte === 0x2b ||
  byte === 0x2d ||
  byte === 0x2e ||
  byte === 0x5f;
const isSpace = (byte: number) => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;

export class JsonDecoder {
  readonly #limits: DecoderLimits;
  /** What was read of the value under way. */
  #bytes = new Uint8Array(256);
  #count = 0;
  #depth = 0;
  /** The quote that ends the string we are in, or 0. */
  #quote = 0;
  #escaped = false;
  #state: 'between' | 'scalar' | 'nested' | 'lost' = 'between';

  constructor(limits: DecoderLimits = DECODER_LIMITS) {
    this.#limits = limits;
  }

  /** The values and errors that these bytes complete, in order. */
  feed(bytes: Uint8Array): Decoded[] {
    const out: Decoded[] = [];
    for (const byte of bytes) this.#take(byte, out);
    return out;
  }

  #take(byte: number, out: Decoded[]): void {
    if (this.#state === 'lost') {
      if (byte >= 0x20 && byte < 0xfe) return;
      this.#state = 'between';
    }
    if (this.#quote !== 0) this.#inString(byte, out);
    else if (this.#state === 'scalar' && !isPlain(byte)) {
      this.#finish(out);
      this.#take(byte, out);
    } else this.#outsideString(byte, out);
  }

  #inString(byte: number, out: Decoded[]): void {
    if (byte < 0x20 || byte >= 0xfe) {
      this.#fail('JSON parse error, control character in string', byte, out);
      return;
    }
    this.#keep(byte, out);
    if (this.#escaped) this.#escaped = false;
    else if (byte === BACKSLASH) this.#escaped = true;
    else if (byte === this.#quote) {
      this.#quote = 0;
      if (this.#state === 'between') this.#finish(out);
    }
  }

  #outsideString(byte: number, out: Decoded[]): void {
    if (isSpace(byte)) {
      if (this.#state === 'nested') this.#keep(byte, out);
    } else if (QUOTES.includes(byte)) {
      this.#quote = byte;
      this.#keep(byte, out);
    } else if (OPENING.includes(byte)) {
      this.#state = 'nested';
      this.#depth += 1;
      if (this.#depth > this.#limits.depth) this.#fail('JSON nesting depth limit exceeded', byte, out);
      else this.#keep(byte, out);
    } else if (CLOSING.includes(byte)) {
      if (this.#state !== 'nested') {
        this.#fail('JSON parse error, expecting value', byte, out);
        return;
      }
      this.#keep(byte, out);
      this.#depth -= 1;
      if (this.#depth === 0) this.#finish(out);
    } else if (isPlain(byte) || (this.#state === 'nested' && (byte === 0x2c || byte === 0x3a))) {
      if (this.#state === 'between') this.#state = 'scalar';
      this.#keep(byte, out);
    } else {
      const shown = byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
      this.#fail(`JSON parse error, stray '${shown}'`, byte, out);
    }
  }

  #keep(byte: number, out: Decoded[]): void {
    if (this.#count === this.#limits.messageBytes) {
      this.#fail('JSON token size limit exceeded', byte, out);
      return;
    }
    if (this.#count === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#count++] = byte;
  }

  #finish(out: Decoded[]): void {
    const text = utf8(this.#bytes.subarray(0, this.#count));
    this.#forget();
    try {
      if (text === undefined) out.push({ error: 'JSON parse error, invalid UTF-8 sequence in string' });
      else out.push({ value: parseJson(text, { depthMax: this.#limits.depth }) });
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      out.push({ error: error.message });
    }
  }

  #fail(message: string, byte: number, out: Decoded[]): void {
    this.#forget();
    out.push({ error: message });
    if (byte >= 0x20 && byte < 0xfe) this.#state = 'lost';
  }

  #forget(): void {
    this.#count = this.#depth = this.#quote = 0;
    this.#escaped = false;
    this.#state = 'between';
    if (this.#bytes.length > 64 * 1024) this.#bytes = new Uint8Array(256);
  }
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

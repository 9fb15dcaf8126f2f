/** GDB's remote serial protocol, the packet layer: `$data#checksum`, acknowledgements, interrupts. */

export type GdbInput =
  | { readonly kind: 'packet'; readonly data: string }
  /** Ctrl-C. */
  | { readonly kind: 'interrupt' }
  /** What was sent last did not arrive whole. */
  | { readonly kind: 'resend' }
  /** A packet whose checksum is wrong. */
  | { readonly kind: 'damaged' };

/** As large as a packet may be; said to gdb, which keeps to it. */
export const PACKET_MAX = 0x4000;
const ESCAPE = 0x7d;

/** Takes a stream apart; bytes may come one at a time. Characters of packets are bytes. */
export class GdbDecoder {
  #data = '';
  #state: 'idle' | 'data' | 'checksum' = 'idle';
  #checksum = '';
  #isTooLong = false;

  feed(bytes: Uint8Array): GdbInput[] {
    const out: GdbInput[] = [];
    for (const byte of bytes) this.#take(byte, out);
    return out;
  }

  #take(byte: number, out: GdbInput[]): void {
    const character = String.fromCharCode(byte);
    if (this.#state === 'idle') {
      if (character === '$') {
        this.#data = this.#checksum = '';
        this.#isTooLong = false;
        this.#state = 'data';
      } else if (byte === 3) out.push({ kind: 'interrupt' });
      else if (character === '-') out.push({ kind: 'resend' });
    } else if (this.#state === 'data') {
      if (character === '#') this.#state = 'checksum';
      else if (this.#data.length < PACKET_MAX) this.#data += character;
      else this.#isTooLong = true;
    } else {
      this.#checksum += character;
      if (this.#checksum.length < 2) return;
      this.#state = 'idle';
      const isWhole = !this.#isTooLong && Number.parseInt(this.#checksum, 16) === checksumOf(this.#data);
      out.push(isWhole ? { kind: 'packet', data: unescaped(this.#data) } : { kind: 'damaged' });
    }
  }
}

/** A packet as it is sent. */
export function packet(data: string): Uint8Array {
  const escaped = data.replace(/[$#}*]/g, (one) => `}${String.fromCharCode(one.charCodeAt(0) ^ 0x20)}`);
  const text = `$${escaped}#${checksumOf(escaped).toString(16).padStart(2, '0')}`;
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function checksumOf(data: string): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 1) sum += data.charCodeAt(i);
  return sum & 0xff;
}

function unescaped(data: string): string {
  return data.includes(String.fromCharCode(ESCAPE))
    ? data.replace(/}([\s\S])/g, (_all, one: string) => String.fromCharCode(one.charCodeAt(0) ^ 0x20))
    : data;
}

export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @returns undefined when it is not hexadecimal */
export function bytesOfHex(text: string): Uint8Array | undefined {
  if (!/^([\da-f]{2})*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

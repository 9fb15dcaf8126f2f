/** A terminal's output as a text file has it: without control sequences (ECMA-48) and with bare newlines. */

const ESC = 0x1b;
const CR = 0x0d;
const LF = 0x0a;

export class PlainText {
  #state: 'text' | 'escape' | 'sequence' = 'text';
  #heldReturn = false;

  /** The plain part of the next bytes; a sequence may be cut anywhere. */
  feed(bytes: Uint8Array): Uint8Array {
    const plain: number[] = [];
    for (const byte of bytes) {
      if (this.#state === 'text') this.#text(byte, plain);
      else this.#state = this.#next(byte);
    }
    return Uint8Array.from(plain);
  }

  #text(byte: number, plain: number[]): void {
    // Returns before a newline say nothing in a file; another one starts the line again.
    if (this.#heldReturn && byte !== LF && byte !== CR) plain.push(CR);
    this.#heldReturn = byte === CR;
    if (byte === ESC) this.#state = 'escape';
    else if (byte !== CR) plain.push(byte);
  }

  /** The state after a byte inside an escape sequence (ECMA-48, 5.3 and 5.4). */
  #next(byte: number): 'text' | 'escape' | 'sequence' {
    if (byte === ESC) return 'escape';
    if (this.#state === 'escape') return byte === 0x5b ? 'sequence' : byte >= 0x20 && byte <= 0x2f ? 'escape' : 'text';
    return byte >= 0x40 && byte <= 0x7e ? 'text' : 'sequence';
  }
}

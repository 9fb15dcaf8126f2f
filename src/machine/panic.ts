/** Recognises a Linux kernel's panic on its console (kernel/panic.c), to say why a machine ended. */

const PANIC = /^(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?Kernel panic - not syncing: (.*)$/;
const PANIC_END = /^(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?---\[ end Kernel panic - not syncing/;
const LINE_MAX = 1024;
/** A guest that prints this many lines more has only shown us an old log. */
const LINES_AFTER_MAX = 200;

export class PanicWatch {
  #line = '';
  #message: string | undefined;
  #linesAfter = 0;
  #ended = false;

  /** What the kernel panicked of, or undefined. */
  get message(): string | undefined {
    return this.#message;
  }

  /** True while the last line is the one with which a kernel without `panic=` stops for good. */
  get ended(): boolean {
    return this.#ended && this.#line === '';
  }

  /** Bytes of the console, in order. */
  feed(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte === 0x0a) this.#endLine();
      else if (byte !== 0x0d && this.#line.length < LINE_MAX) this.#line += String.fromCharCode(byte);
    }
  }

  /** Somebody talks to the guest: it lives, so what looked like a panic was none. */
  forget(): void {
    this.#message = undefined;
    this.#ended = false;
  }

  #endLine(): void {
    const line = this.#line;
    this.#line = '';
    const found = PANIC.exec(line);
    if (found !== null) {
      this.#message = found[1];
      this.#linesAfter = 0;
    } else if (this.#message !== undefined && ++this.#linesAfter > LINES_AFTER_MAX) {
      this.forget();
    }
    this.#ended = this.#message !== undefined && PANIC_END.test(line);
  }
}

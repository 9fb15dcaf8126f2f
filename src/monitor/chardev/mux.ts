/** One terminal for several users: all write to it, one at a time hears what is typed, Ctrl-A c changes who. */
import type { CharBackend } from '../../contract/index.ts';
import type { CharFrontend, CharLine } from './chardev.ts';

const CTRL_A = 0x01;
const KEYS = {
  help: 0x68, // h
  quit: 0x78, // x
  next: 0x63, // c
} as const;
const HELP = [
  'h    this help',
  'x    ends the emulator',
  'c    changes between console and monitor',
  'Ctrl-A  sends Ctrl-A',
];

export class Mux {
  readonly #backend: CharBackend;
  readonly #frontends: CharFrontend[] = [];
  readonly #onQuit: () => void;
  #focus = 0;
  #afterCtrlA = false;

  constructor(backend: CharBackend, onQuit: () => void) {
    this.#backend = backend;
    this.#onQuit = onQuit;
    backend.connect({
      opened: () => this.#frontends[this.#focus]?.opened?.(),
      closed: () => this.#each((frontend) => frontend.closed?.()),
      drained: () => this.#each((frontend) => frontend.drained?.()),
      data: (bytes) => this.#typed(bytes),
    });
  }

  attach(frontend: CharFrontend): CharLine {
    const index = this.#frontends.push(frontend) - 1;
    const backend = this.#backend;
    const hasFocus = () => this.#focus === index;
    return {
      get isOpen() {
        return backend.isOpen && hasFocus();
      },
      get waitingBytes() {
        return backend.waitingBytes;
      },
      write: (bytes) => backend.write(bytes),
      // Only who is listening may stop the typing.
      pause: () => {
        if (hasFocus()) backend.pause();
      },
      resume: () => backend.resume(),
    };
  }

  #each(action: (frontend: CharFrontend) => void): void {
    for (const frontend of this.#frontends) action(frontend);
  }

  #typed(bytes: Uint8Array): void {
    let from = 0;
    const pass = (to: number) => {
      if (to > from) this.#frontends[this.#focus]?.data(bytes.slice(from, to));
    };
    for (const [index, byte] of bytes.entries()) {
      if (this.#afterCtrlA) {
        this.#afterCtrlA = false;
        // Ctrl-A twice is one for whoever listens: it is left in what is passed on.
        if (byte === CTRL_A) from = index;
        else {
          from = index + 1;
          this.#command(byte);
        }
      } else if (byte === CTRL_A) {
        pass(index);
        from = index + 1;
        this.#afterCtrlA = true;
      }
    }
    if (!this.#afterCtrlA) pass(bytes.length);
  }

  #command(key: number): void {
    if (key === KEYS.quit) this.#onQuit();
    else if (key === KEYS.help) this.#say(HELP.map((line) => `Ctrl-A ${line}`));
    else if (key === KEYS.next && this.#frontends.length > 0) {
      this.#focus = (this.#focus + 1) % this.#frontends.length;
      this.#backend.resume();
      this.#frontends[this.#focus].opened?.();
    }
  }

  #say(lines: readonly string[]): void {
    this.#backend.write(new TextEncoder().encode(`\r\n${lines.join('\r\n')}\r\n`));
  }
}

/** A named character device: a backend, and whoever uses it. With `mux`, several do, by turns for input. */
import { UserError } from '../../base/index.ts';
import type { CharBackend } from '../../contract/index.ts';
import { Mux } from './mux.ts';

/** A user of a character device: a serial port, a monitor, the gdb stub. */
export interface CharFrontend {
  /** Somebody connected, or turned to this user of a shared device. */
  opened?(): void;
  closed?(): void;
  data(bytes: Uint8Array): void;
  drained?(): void;
}

/** A frontend's hold on its device. */
export interface CharLine {
  /** Somebody is at the other side, and talks to this frontend. */
  readonly isOpen: boolean;
  readonly waitingBytes: number;
  write(bytes: Uint8Array): void;
  pause(): void;
  resume(): void;
}

export class Chardev {
  readonly id: string;
  readonly backend: CharBackend;
  readonly #mux: Mux | undefined;
  #isUsed = false;

  /** @param onQuit Ctrl-A x on a terminal that is shared. */
  constructor(id: string, backend: CharBackend, options: { readonly mux: boolean; readonly onQuit: () => void }) {
    this.id = id;
    this.backend = backend;
    this.#mux = options.mux ? new Mux(backend, options.onQuit) : undefined;
  }

  get isUsed(): boolean {
    return this.#isUsed;
  }

  /** Throws UserError when somebody uses it already and it cannot be shared. */
  attach(frontend: CharFrontend): CharLine {
    if (this.#mux !== undefined) {
      this.#isUsed = true;
      return this.#mux.attach(frontend);
    }
    if (this.#isUsed) throw new UserError(`Device '${this.id}' is in use`);
    this.#isUsed = true;
    this.backend.connect(frontend);
    return this.backend;
  }
}

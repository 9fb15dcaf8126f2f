/** The keys that mean something to vireo and not to the guest: Ctrl-A and one more, as in QEMU's -nographic. */

export type ConsoleAction = 'quit' | 'help';

export const ESCAPE_HINT = 'Ctrl-A x quits, Ctrl-A h helps';
export const ESCAPE_HELP = [
  'Ctrl-A h       this help',
  'Ctrl-A x       ends the machine',
  'Ctrl-A Ctrl-A  sends Ctrl-A to the guest',
] as const;

const CTRL_A = 0x01;
const ACTIONS: Readonly<Record<string, ConsoleAction>> = { x: 'quit', h: 'help', '?': 'help' };

export class EscapeKeys {
  #afterCtrlA = false;

  /** Parts what was typed into bytes for the guest and actions; any other key after Ctrl-A does nothing. */
  feed(typed: Uint8Array): { bytes: Uint8Array; actions: ConsoleAction[] } {
    const bytes: number[] = [];
    const actions: ConsoleAction[] = [];
    for (const byte of typed) {
      if (!this.#afterCtrlA && byte !== CTRL_A) bytes.push(byte);
      else if (!this.#afterCtrlA) this.#afterCtrlA = true;
      else {
        this.#afterCtrlA = false;
        const action = ACTIONS[String.fromCharCode(byte)];
        if (byte === CTRL_A) bytes.push(CTRL_A);
        else if (action !== undefined) actions.push(action);
      }
    }
    return { bytes: Uint8Array.from(bytes), actions };
  }
}

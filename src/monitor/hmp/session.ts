/** The human monitor on a terminal: a prompt, a line that can be edited, a history, completion. */
import type { Emulator } from '../emulator/emulator.ts';
import { QEMU_VERSION_TEXT } from '../emulator/version.ts';
import { completions, runLine } from './run.ts';

const PROMPT = '(qemu) ';
const LINE_MAX = 4096;
const HISTORY_MAX = 64;
/** What keys send (ECMA-48), and what they do. */
const KEYS: Readonly<Record<string, 'left' | 'right' | 'up' | 'down' | 'home' | 'end' | 'delete'>> = {
  '[D': 'left',
  '[C': 'right',
  '[A': 'up',
  '[B': 'down',
  '[H': 'home',
  '[F': 'end',
  '[1~': 'home',
  '[4~': 'end',
  '[3~': 'delete',
};

export class HmpSession {
  readonly #emulator: Emulator;
  readonly #write: (text: string) => void;
  readonly #decoder = new TextDecoder();
  #line = '';
  #cursor = 0;
  #escape: string | undefined;
  #history: string[] = [];
  #recalled = 0;
  #work: Promise<void> = Promise.resolve();
  #waitingLines = 0;

  constructor(emulator: Emulator, write: (text: string) => void) {
    this.#emulator = emulator;
    this.#write = write;
  }

  open(): void {
    this.#set('');
    this.#write(`QEMU ${QEMU_VERSION_TEXT} monitor - type 'help' for more information\r\n${PROMPT}`);
  }

  close(): void {
    this.#set('');
  }

  receive(bytes: Uint8Array): void {
    for (const character of this.#decoder.decode(bytes, { stream: true })) this.#key(character);
  }

  #key(character: string): void {
    if (this.#escape !== undefined) {
      this.#escaped(character);
      return;
    }
    switch (character) {
      case '\x1b':
        this.#escape = '';
        return;
      case '\r':
      case '\n':
        this.#enter();
        return;
      case '\x7f':
      case '\b':
        if (this.#cursor > 0)
          this.#edit(this.#line.slice(0, this.#cursor - 1) + this.#line.slice(this.#cursor), this.#cursor - 1);
        return;
      case '\t':
        this.#complete();
        return;
      case '\x01':
        this.#move(0);
        return;
      case '\x05':
        this.#move(this.#line.length);
        return;
      case '\x0b':
        this.#edit(this.#line.slice(0, this.#cursor), this.#cursor);
        return;
      case '\x15':
        this.#edit('', 0);
        return;
      default:
        if (character < ' ' || this.#line.length >= LINE_MAX) return;
        this.#edit(this.#line.slice(0, this.#cursor) + character + this.#line.slice(this.#cursor), this.#cursor + 1);
    }
  }

  #escaped(character: string): void {
    this.#escape += character;
    const action = KEYS[this.#escape!];
    if (action === undefined) {
      if (/^(\[\d*|O)?$/.test(this.#escape!)) return;
      this.#escape = undefined;
      return;
    }
    this.#escape = undefined;
    if (action === 'left') this.#move(Math.max(0, this.#cursor - 1));
    else if (action === 'right') this.#move(Math.min(this.#line.length, this.#cursor + 1));
    else if (action === 'home') this.#move(0);
    else if (action === 'end') this.#move(this.#line.length);
    else if (action === 'delete')
      this.#edit(this.#line.slice(0, this.#cursor) + this.#line.slice(this.#cursor + 1), this.#cursor);
    else this.#recall(action === 'up' ? -1 : 1);
  }

  #recall(step: number): void {
    const index = Math.max(0, Math.min(this.#history.length, this.#recalled + step));
    this.#recalled = index;
    const line = this.#history[index] ?? '';
    this.#edit(line, line.length);
  }

  #enter(): void {
    const line = this.#line;
    this.#write('\r\n');
    this.#set('');
    if (line.trim() !== '' && this.#history.at(-1) !== line)
      this.#history = [...this.#history, line].slice(-HISTORY_MAX);
    this.#recalled = this.#history.length;
    if (this.#waitingLines >= HISTORY_MAX) return;
    this.#waitingLines += 1;
    this.#work = this.#work.then(async () => {
      const output = await this.#emulator.inTurn(() => runLine(this.#emulator, line));
      this.#waitingLines -= 1;
      this.#write(`${output}${PROMPT}${this.#line}`);
    });
  }

  #complete(): void {
    const before = this.#line.slice(0, this.#cursor);
    const found = completions(this.#emulator, before);
    const word = /\S*$/.exec(before)?.[0] ?? '';
    if (found.length === 0) return;
    const common = found.reduce((shared, one) => {
      let length = 0;
      while (length < shared.length && shared[length] === one[length]) length += 1;
      return shared.slice(0, length);
    });
    const rest = common.slice(word.length) + (found.length === 1 ? ' ' : '');
    if (rest !== '') this.#edit(before + rest + this.#line.slice(this.#cursor), this.#cursor + rest.length);
    else this.#write(`\r\n${found.join('  ')}\r\n${PROMPT}${this.#line}`);
  }

  #set(line: string): void {
    this.#line = line;
    this.#cursor = line.length;
  }

  /** Shows the line as it is now, from the prompt on. */
  #edit(line: string, cursor: number): void {
    const appended = cursor === line.length && this.#cursor === this.#line.length && line.startsWith(this.#line);
    const added = line.slice(this.#line.length);
    this.#line = line;
    this.#cursor = cursor;
    if (appended) {
      this.#write(added);
      return;
    }
    const back = line.length - cursor;
    this.#write(`\r${PROMPT}${line}\x1b[K${back > 0 ? `\x1b[${back}D` : ''}`);
  }

  #move(cursor: number): void {
    this.#edit(this.#line, cursor);
  }
}

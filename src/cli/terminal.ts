/** The user's side of a guest's console: a terminal in raw mode, or pipes with plain text. */
import type { Machine } from '../machine/index.ts';
import { ESCAPE_HELP, ESCAPE_HINT, EscapeKeys } from './escape-keys.ts';
import { PlainText } from './plain-text.ts';

export interface ConsoleOptions {
  /**
   * Says that the guest reads its console, and ends by Ctrl-D: input that is
   * not typed waits until the guest has printed this text (none: not at all), and its end is sent as Ctrl-D.
   */
  readonly readyText?: string;
}

const CTRL_D = 0x04;
/** What may wait for a guest that takes no input; more typing is dropped. */
const MAX_TYPED_AHEAD_BYTES = 4096;

/** Starts the machine with its first serial port on standard input and output; resolves when it has ended. */
export async function runOnTerminal(machine: Machine, { readyText }: ConsoleOptions): Promise<void> {
  const { stdin } = process;
  const ready = Promise.withResolvers<void>();
  if (readyText === undefined || readyText === '') ready.resolve();
  const output = pumpOutput(machine, readyText ?? '', ready.resolve);
  const detach = stdin.isTTY ? attachKeyboard(machine) : attachPipe(machine, ready.promise, readyText !== undefined);
  try {
    await Promise.all([output, machine.start()]);
    await machine.exited;
  } finally {
    detach();
    stdin.pause();
    stdin.unref?.();
  }
}

async function pumpOutput(machine: Machine, readyText: string, onReady: () => void): Promise<void> {
  const plain = process.stdout.isTTY ? undefined : new PlainText();
  let tail = '';
  for await (const bytes of machine.serial[0].readable) {
    tail = (tail + Buffer.from(bytes).toString('latin1')).slice(-(bytes.length + readyText.length));
    if (tail.includes(readyText)) onReady();
    await write(process.stdout, plain === undefined ? bytes : plain.feed(bytes));
  }
}

/** Writes, and waits while the other side is slow. */
export async function write(stream: NodeJS.WriteStream, bytes: Uint8Array): Promise<void> {
  if (!stream.write(bytes)) await new Promise<void>((resolve) => stream.once('drain', resolve));
}

/** Keys go to the guest as they are typed; returns what gives the terminal back. */
function attachKeyboard(machine: Machine): () => void {
  const { stdin, stderr } = process;
  const keys = new EscapeKeys();
  const writer = machine.serial[0].writable.getWriter();
  let waitingBytes = 0;
  const send = async (bytes: Uint8Array) => {
    if (waitingBytes + bytes.length > MAX_TYPED_AHEAD_BYTES) return;
    waitingBytes += bytes.length;
    await writer.write(bytes);
    waitingBytes -= bytes.length;
  };
  const onData = (typed: Buffer) => {
    const { bytes, actions } = keys.feed(typed);
    if (bytes.length > 0) void send(bytes);
    for (const action of actions) {
      if (action === 'quit') void machine.stop();
      else stderr.write(`\r\n${ESCAPE_HELP.join('\r\n')}\r\n`);
    }
  };
  stderr.write(`vireo: ${ESCAPE_HINT}\n`);
  const leave = enterRawMode();
  stdin.on('data', onData);
  return () => {
    stdin.off('data', onData);
    leave();
  };
}

/** The terminal hands over every key, until the returned function is called or the process exits, whichever way. */
function enterRawMode(): () => void {
  const { stdin } = process;
  const enter = () => stdin.setRawMode(true);
  const leave = () => stdin.setRawMode(false);
  enter();
  process.on('exit', leave);
  process.on('SIGCONT', enter);
  return () => {
    process.off('exit', leave);
    process.off('SIGCONT', enter);
    leave();
  };
}

/** A file or a pipe goes to the guest at the guest's pace. */
function attachPipe(machine: Machine, ready: Promise<void>, sendsEnd: boolean): () => void {
  const { stdin } = process;
  const writer = machine.serial[0].writable.getWriter();
  const onData = async (bytes: Uint8Array) => {
    stdin.pause();
    await ready;
    await writer.write(bytes);
    stdin.resume();
  };
  const onEnd = async () => {
    await ready;
    if (sendsEnd) await writer.write(Uint8Array.of(CTRL_D));
  };
  stdin.on('data', onData);
  stdin.on('end', onEnd);
  return () => {
    stdin.off('data', onData);
    stdin.off('end', onEnd);
  };
}

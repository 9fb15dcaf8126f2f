/** Joins a guest's serial port and a character device, at the pace of the slower side. */
import type { SerialConsole } from '../../machine/index.ts';
import type { Chardev } from './chardev.ts';

/** Output waits when the other side has this much to take. */
const OUTPUT_MAX_BYTES = 256 * 1024;
const INPUT_MAX_BYTES = 16 * 1024;

/** Resolves when the port's output has ended and was handed over. */
export async function joinSerial(port: SerialConsole, chardev: Chardev): Promise<void> {
  const writer = port.writable.getWriter();
  let waiting = 0;
  let onDrained: (() => void) | undefined;
  const line = chardev.attach({
    data(bytes) {
      waiting += bytes.length;
      if (waiting > INPUT_MAX_BYTES) line.pause();
      void writer.write(bytes).then(() => {
        waiting -= bytes.length;
        if (waiting <= INPUT_MAX_BYTES) line.resume();
      });
    },
    drained: () => onDrained?.(),
    closed: () => onDrained?.(),
  });
  for await (const bytes of port.readable) {
    line.write(bytes);
    while (line.isOpen && line.waitingBytes > OUTPUT_MAX_BYTES) {
      await new Promise<void>((resolve) => (onDrained = resolve));
    }
  }
}

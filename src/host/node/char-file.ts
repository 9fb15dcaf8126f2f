/** Output to a file, in the order of writing, complete when the process ends. */
import { writeSync } from 'node:fs';
import type { StreamPair } from './char-backends.ts';

/** Writes at once: a log must have what was printed before a crash. */
export function syncOutput(fd: number): NonNullable<StreamPair['output']> {
  let onError: (error: Error) => void = () => {};
  return {
    writableLength: 0,
    write(bytes: Uint8Array) {
      try {
        for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      } catch (error) {
        onError(error as Error);
      }
      return true;
    },
    on(event: string, listener: (error: Error) => void) {
      if (event === 'error') onError = listener;
      return undefined as never;
    },
  } as NonNullable<StreamPair['output']>;
}

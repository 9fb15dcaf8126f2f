/** One of two emulators between which a machine moves. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { connectQmp, type QmpClient, startEmulator } from './emulator.ts';

/** A machine of 16 MiB with the folder's file `kernel`; what it prints goes to the file `out-NAME`. */
export interface Side extends AsyncDisposable {
  readonly qmp: QmpClient;
  letters(): Promise<string>;
  /** Resolves when it has printed this many letters more. */
  more(count: number): Promise<void>;
  /** Resolves when query-migrate says so; fails when the migration did. */
  untilStatus(status: string): Promise<void>;
}

/** @param files that it inherits, from descriptor 3 on */
export async function startSide(
  folder: string,
  name: string,
  args: readonly string[],
  files: readonly Socket[] = [],
): Promise<Side> {
  const line = ['-m', '16', '-nodefaults', '-display', 'none', '-accel', 'tcg', '-kernel', 'kernel'];
  const own = ['-serial', `file:out-${name}`, '-qmp', `unix:qmp-${name},server=on,wait=off`];
  const emulator = startEmulator([...line, ...own, ...args], folder, false, files);
  const qmp = await connectQmp(join(folder, `qmp-${name}`));
  const letters = () => readFile(join(folder, `out-${name}`), 'latin1');
  return {
    qmp,
    letters,
    async more(count) {
      const wanted = (await letters()).length + count;
      while ((await letters()).length < wanted) await qmp.call('query-status');
    },
    async untilStatus(status) {
      for (;;) {
        const info = await qmp.call('query-migrate');
        if (info.status === status) return;
        assert.notEqual(info.status, 'failed', info['error-desc']);
      }
    },
    async [Symbol.asyncDispose]() {
      qmp[Symbol.dispose]();
      await emulator[Symbol.asyncDispose]();
    },
  };
}

/** The emulator's host: this process and its files. */
import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { UserError } from '../../base/index.ts';
import { openCharBackend } from '../../host/node/index.ts';
import type { EmulatorHost } from '../../monitor/index.ts';
import { programName } from '../version.ts';
import { migrationHost } from './migration.ts';
import type { Reporter } from './report.ts';

export async function emulatorHost(report: Reporter): Promise<EmulatorHost> {
  return {
    nowMillis: () => Date.now(),
    after(millis, action) {
      const timeout = setTimeout(action, millis);
      return () => clearTimeout(timeout);
    },
    processId: process.pid,
    hasKvm: existsSync('/dev/kvm'),
    programName: await programName(),
    openCharBackend: (spec) =>
      openCharBackend(spec, (label) => report.log(`info: QEMU waiting for connection on: ${label}`)),
    openBlock: async (options, tell) => (await import('../drivers/graph.ts')).openBlockService(options, tell),
    log: (message) => report.log(message),
    migration: migrationHost,
    async writeFile(path, pieces) {
      try {
        await using file = await open(path, 'w');
        for await (const bytes of pieces) await file.write(bytes);
      } catch (error) {
        throw error instanceof UserError ? error : new UserError(`cannot write ${path}: ${(error as Error).message}`);
      }
    },
  };
}

/** C programs built on this computer, to run both here and in a guest. */
import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

export interface NativeProgram {
  readonly bytes: Uint8Array;
  /** Runs it on this computer's processor. */
  run(args: readonly string[]): { readonly status: number | null; readonly stdout: string };
}

/** Why there can be no native programs here, or false. */
export const nativeUnavailable: string | false = (() => {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'this computer runs no x86-64 Linux programs';
  return spawnSync('gcc', ['--version']).status !== 0 && 'gcc is not installed';
})();

/** Compiles a file of tests/guests; undefined, and the test skipped, when the compiler lacks what it takes. */
export async function build(
  context: TestContext,
  source: string,
  flags: readonly string[],
): Promise<NativeProgram | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'program');
  const file = fileURLToPath(new URL(`../guests/${source}`, import.meta.url));
  const compiler = spawnSync('gcc', ['-O2', '-Wall', '-Wextra', '-o', path, file, ...flags], { encoding: 'utf8' });
  if (compiler.status !== 0) {
    const missing = /cannot find -l\S+|\S+\.h: No such file/.exec(compiler.stderr)?.[0];
    if (missing === undefined) throw new Error(`gcc ${source}: ${compiler.stderr}`);
    context.skip(`gcc: ${missing}`);
    return undefined;
  }
  await chmod(path, 0o755);
  return {
    bytes: await readFile(path),
    run(args) {
      const { status, stdout } = spawnSync(path, args, { encoding: 'utf8' });
      return { status, stdout };
    },
  };
}

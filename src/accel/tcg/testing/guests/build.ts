/** Builds the guest programs of tests/guests with the host's assembler and linker. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const sources: string = fileURLToPath(new URL('../../../../../tests/guests/', import.meta.url));

/** Names of all guests. */
export const guestNames: readonly string[] = readdirSync(sources)
  .filter((name) => name.endsWith('.S'))
  .map((name) => name.slice(0, -2));

/** Path of a guest's ELF file; it is built when its sources have changed. */
export function buildGuest(name: string): string {
  const inputs = [`${name}.S`, 'runtime.inc', 'guest.ld'].map((file) => join(sources, file));
  const hash = createHash('sha256');
  for (const path of inputs) hash.update(readFileSync(path));
  const folder = join(tmpdir(), `vireo-guests-${process.getuid?.() ?? 0}`);
  const path = join(folder, `${name}-${hash.digest('hex').slice(0, 16)}.elf`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  run('as', ['--32', '-I', sources, '-o', `${draft}.o`, inputs[0]]);
  run('ld', ['-m', 'elf_i386', '-T', inputs[2], '-o', draft, `${draft}.o`]);
  renameSync(draft, path);
  return path;
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (error || status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
}

/** Why guests can not be built here, or undefined. */
export function whyNoGuests(): string | undefined {
  const missing = ['as', 'ld'].find((tool) => !/elf|GNU/.test(spawnSync(tool, ['--version'], { encoding: 'utf8' }).stdout ?? ''));
  if (missing) return `no GNU ${missing}: install binutils to have guest programs run`;
  const targets = spawnSync('ld', ['-V'], { encoding: 'utf8' }).stdout;
  return targets.includes('elf_i386') ? undefined : 'the linker does not know elf_i386';
}

/** Builds the guest programs of tests/guests with the host's assembler and linker. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
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
  const linkerScript = join(sources, 'guest.ld');
  const inputs = [
    join(sources, `${name}.S`),
    linkerScript,
    ...['runtime.inc', 'runtime64.inc'].map((file) => join(sources, file)),
  ];
  const hash = createHash('sha256');
  for (const path of inputs) hash.update(readFileSync(path));
  const folder = join(tmpdir(), `vireo-guests-${process.getuid?.() ?? 0}`);
  const path = join(folder, `${name}-${hash.digest('hex').slice(0, 16)}.elf`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  // 64-bit code in a 32-bit file, as multiboot wants it: made as a 64-bit one, which then changes its format.
  run('as', ['--64', '-I', sources, '-o', `${draft}.o`, inputs[0]]);
  run('ld', ['-m', 'elf_x86_64', '-z', 'max-page-size=4096', '-T', linkerScript, '-o', `${draft}.64`, `${draft}.o`]);
  run('objcopy', ['-O', 'elf32-i386', `${draft}.64`, draft]);
  for (const suffix of ['.o', '.64']) rmSync(draft + suffix);
  renameSync(draft, path);
  return path;
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (error || status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
}

/** Why guests can not be built here, or undefined. */
export function whyNoGuests(): string | undefined {
  const missing = ['as', 'ld', 'objcopy'].find(
    (tool) => !/elf|GNU/.test(spawnSync(tool, ['--version'], { encoding: 'utf8' }).stdout ?? ''),
  );
  if (missing) return `no GNU ${missing}: install binutils to have guest programs run`;
  const targets = spawnSync('ld', ['-V'], { encoding: 'utf8' }).stdout;
  return targets.includes('elf_x86_64') ? undefined : 'the linker does not know elf_x86_64';
}

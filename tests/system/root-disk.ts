/** Debian's root file system on a qcow2 image, made without privileges: ext4 by mke2fs, and an init of the test's. */
import { spawnSync } from 'node:child_process';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { debianRoot } from './debian.ts';
import { tryDefaultGuest } from './guest.ts';

const IMAGE_PROGRAM = fileURLToPath(new URL('../../src/cli/img/main.ts', import.meta.url));
const DISK_BYTES = 192 * 2 ** 20;
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

const guest = await tryDefaultGuest('generic');
const missing = ['mke2fs', 'e2fsck', 'debugfs'].find((name) => runProgram(name, '-V').status === null);
const root = typeof guest === 'string' ? '' : await debianRoot().catch((error: Error) => error);

/** A reason to skip. */
export const skip =
  typeof guest === 'string'
    ? guest
    : root instanceof Error
      ? root.message
      : missing !== undefined && `${missing} is not installed`;

export function runProgram(program: string, ...args: string[]) {
  return spawnSync(program, args, { env: { ...process.env, PATH }, encoding: 'latin1' });
}

/** The same, and its output; throws when it fails. */
function output(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = runProgram(program, ...args);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

function image(...args: string[]): string {
  return output(process.execPath, IMAGE_PROGRAM, ...args);
}

/** Begins the scripts of `rootDisk`: the lines of runExec's protocol, and places for files that need not last. */
const PROLOGUE = `#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
for port in ttyS1 ttyS2 ttyS3; do stty -F /dev/$port raw -echo; done
exec >/dev/ttyS1 2>/dev/ttyS2 </dev/null
mount -t proc proc /proc 2>/dev/null
end() {
  sync; mount -o remount,ro / || echo "the root stays busy"
  for port in ttyS1 ttyS2; do stty -F /dev/$port raw -echo; done
  "$@"
}
power_off() { end eval 'echo 0 > /dev/ttyS3; stty -F /dev/ttyS3 raw -echo; busybox poweroff -f'; }
`;

/** A qcow2 image in `folder` whose root has `script`, in bash, as /sbin/init. */
export async function rootDisk(folder: string, script: string): Promise<string> {
  const [raw, disk, init] = ['root.raw', 'root.qcow2', 'init'].map((name) => join(folder, name));
  {
    await using file = await open(raw, 'w');
    await file.truncate(DISK_BYTES);
  }
  output('mke2fs', '-q', '-F', '-t', 'ext4', '-E', 'root_owner=0:0', '-d', String(root), raw);
  await writeFile(init, PROLOGUE + script);
  output('debugfs', '-w', '-R', `write ${init} /sbin/init`, raw);
  output('debugfs', '-w', '-R', 'sif /sbin/init mode 0100755', raw);
  image('convert', '-f', 'raw', '-O', 'qcow2', raw, disk);
  return disk;
}

export interface CheckedRoot {
  /** What is in a file of the root, after the journal was replayed. */
  read(path: string): string;
}

/**
 * Looks at the image as a power cut left it: its metadata, its file system, and that again when `e2fsck` replayed the
 * journal. Throws what is wrong.
 * @param ended how the guest ended: only after a power-off needs the journal be empty
 */
export function checkRootDisk(disk: string, ended: 'powered-off' | 'killed'): CheckedRoot {
  const raw = `${disk}.raw`;
  const { status, stdout, stderr } = runProgram(process.execPath, IMAGE_PROGRAM, 'check', disk);
  const isHealthy = status === 0 || (ended === 'killed' && status === 3); // 3: clusters that nothing uses
  if (!isHealthy) throw new Error(`vireo-img check: ${stdout}${stderr}`);
  image('convert', '-f', 'qcow2', '-O', 'raw', disk, raw);
  if (ended === 'killed') {
    const replay = runProgram('e2fsck', '-p', raw);
    if ((replay.status ?? 8) > 1) throw new Error(`e2fsck -p: ${replay.stdout}`);
  }
  output('e2fsck', '-f', '-n', raw);
  return { read: (path) => output('debugfs', '-R', `cat ${path}`, raw) };
}

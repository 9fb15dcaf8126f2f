/** What the guests of the benchmark have of Debian beside the default guest; kept in the user's cache folder. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type CpioEntry, UserError, writeCpio } from '../src/base/index.ts';
import type { Apt, Architecture } from '../src/host/node/guest/apt.ts';
import { cachedFile } from '../src/host/node/guest/cache.ts';
import { cacheFolder } from '../src/host/node/guest/cache-folder.ts';

export type { Architecture } from '../src/host/node/guest/apt.ts';

/** perl with its C library, as it lies in a root file system: a cpio archive. */
export function perl(architecture: Architecture): Promise<Uint8Array> {
  return cached(architecture, 'perl.cpio', async (apt, folder) => {
    for (const name of ['perl-base', 'libc6', 'libcrypt1']) await apt.unpack([await apt.show(name)], folder);
    const [triplet] = (await readdir(join(folder, 'lib'))).filter((name) => name.endsWith('-linux-gnu'));
    const loader = architecture === 'i386' ? 'lib/ld-linux.so.2' : 'lib64/ld-linux-x86-64.so.2';
    const libraries = ['libc.so.6', 'libm.so.6', 'libcrypt.so.1'].map((name) => `lib/${triplet}/${name}`);
    const paths = ['usr/bin/perl', loader, ...libraries];
    const folders = new Set(paths.flatMap((path) => [dirname(dirname(path)), dirname(path)]));
    const directories = [...folders].filter((path) => path !== '.');
    return writeCpio([
      ...directories.map((path): CpioEntry => ({ kind: 'directory', path, permissions: 0o755 })),
      ...(await Promise.all(
        paths.map(
          async (path): Promise<CpioEntry> => ({
            kind: 'file',
            path,
            permissions: 0o755,
            data: await readFile(join(folder, path)),
          }),
        ),
      )),
    ]);
  });
}

/** The kernel of a 32-bit guest: Debian has no cloud kernel for it. */
export function kernel32(): Promise<Uint8Array> {
  return cached('i386', 'vmlinuz', async (apt, folder) => {
    const meta = await apt.show('linux-image-686');
    const name = meta.depends.find((dependency) => dependency.startsWith('linux-image-'));
    if (name === undefined) throw new UserError(`package ${meta.name} names no kernel package`);
    await apt.unpack([await apt.show(name)], folder);
    const [file] = (await readdir(join(folder, 'boot'))).filter((entry) => entry.startsWith('vmlinuz-'));
    return readFile(join(folder, 'boot', file));
  });
}

export function busybox32(): Promise<Uint8Array> {
  return cached('i386', 'busybox', async (apt, folder) => {
    await apt.unpack([await apt.show('busybox-static')], folder);
    return readFile(join(folder, 'bin', 'busybox'));
  });
}

function cached(
  architecture: Architecture,
  name: string,
  build: (apt: Apt, folder: string) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  return cachedFile(join(cacheFolder(process.env), 'bench'), `${architecture}-${name}`, build, architecture);
}

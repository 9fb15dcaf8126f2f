/** More of Debian than the default guest has, got with apt once and kept in the user's cache folder. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type CpioEntry, writeCpio } from '../../src/base/index.ts';
import { cachedFile, cachedFolder } from '../../src/host/node/guest/cache.ts';
import { cacheFolder } from '../../src/host/node/guest/cache-folder.ts';

/** Where the userland lies in the guest. */
export const USERLAND_ROOT = 'debian/';

const USERLAND_PACKAGES = ['bash', 'coreutils', 'dash', 'grep', 'gzip', 'perl-base', 'python3', 'sed'];
const KVM_MODULES = ['irqbypass.ko', 'kvm.ko', 'kvm-amd.ko'];
/** What no program of the tests reads. */
const LEFT_OUT =
  /^(usr\/share\/(doc|man|locale|info|lintian|bash-completion|bug|i18n)|usr\/lib\/x86_64-linux-gnu\/gconv|usr\/lib\/python3.11\/(idlelib|lib2to3|pydoc_data|test))(\/|$)/;

/** The generic amd64 kernel, a bzImage. */
export function genericKernel(): Promise<Uint8Array> {
  return cachedFile(systemTestsCache(), 'linux-image-amd64', async (apt, folder) => {
    const meta = await apt.show('linux-image-amd64');
    const name = meta.depends.find((dependency) => dependency.startsWith('linux-image-'));
    if (name === undefined) throw new Error(`package ${meta.name} names no kernel package`);
    await apt.unpack([await apt.show(name)], folder);
    const [file] = (await readdir(join(folder, 'boot'))).filter((entry) => entry.startsWith('vmlinuz-'));
    return readFile(join(folder, 'boot', file));
  });
}

/** Debian's cloud kernel with its KVM modules, for a host of guests: vmlinuz, and modules in the order of loading. */
export async function kvmHostKernel(): Promise<{ kernel: Uint8Array; modules: [name: string, data: Uint8Array][] }> {
  const names = ['vmlinuz', ...KVM_MODULES];
  const packed = await cachedFile(systemTestsCache(), 'kvm-host.cpio', async (apt, folder) => {
    const meta = await apt.show('linux-image-cloud-amd64');
    const name = meta.depends.find((dependency) => dependency.startsWith('linux-image-'));
    if (name === undefined) throw new Error(`package ${meta.name} names no kernel package`);
    await apt.unpack([await apt.show(name)], folder);
    const paths = await readdir(folder, { recursive: true });
    const find = (wanted: string) =>
      paths.find((path) => path.endsWith(`/${wanted}`) || path.includes(`boot/${wanted}-`));
    const entries = names.map(async (file): Promise<CpioEntry> => {
      const path = find(file);
      if (path === undefined) throw new Error(`package ${name} holds no ${file}`);
      return { kind: 'file', path: file, permissions: 0o644, data: await readFile(join(folder, path)) };
    });
    return writeCpio(await Promise.all(entries));
  });
  const files = new Map(readCpioFiles(packed));
  const take = (name: string) => files.get(name) ?? new Uint8Array(0);
  return { kernel: take('vmlinuz'), modules: KVM_MODULES.map((name) => [name, take(name)]) };
}

/** Names and contents of an archive that `writeCpio` made of files. */
function* readCpioFiles(archive: Uint8Array): Generator<[string, Uint8Array]> {
  const text = Buffer.from(archive.buffer, archive.byteOffset, archive.byteLength);
  const align = (at: number) => Math.ceil(at / 4) * 4;
  for (let at = 0; ; ) {
    const field = (index: number) =>
      Number.parseInt(text.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const [size, nameLength] = [field(6), field(11)];
    const name = text.toString('latin1', at + 110, at + 110 + nameLength - 1);
    if (name === 'TRAILER!!!') return;
    const data = align(at + 110 + nameLength);
    yield [name, archive.subarray(data, data + size)];
    at = align(data + size);
  }
}

/** bash, coreutils, python3 and perl with all their libraries below `USERLAND_ROOT`: a cpio archive. */
export function debianUserland(): Promise<Uint8Array> {
  return root('userland.cpio', USERLAND_PACKAGES);
}

/** The libraries that a Node binary needs, below `USERLAND_ROOT`: a cpio archive. */
export function nodeLibraries(): Promise<Uint8Array> {
  return root('node-libraries.cpio', ['libatomic1', 'libstdc++6']);
}

/** Packages and all that they depend on, as the root of a file system with its usual places. */
function root(name: string, packages: readonly string[]): Promise<Uint8Array> {
  return cachedFile(systemTestsCache(), name, async (apt, folder) => {
    await apt.unpack(await apt.resolve(packages), folder);
    const root: CpioEntry = { kind: 'directory', path: USERLAND_ROOT.slice(0, -1), permissions: 0o755 };
    const mountPoints = ['dev', 'proc', 'root', 'sys', 'tmp'].map(
      (name): CpioEntry => ({ kind: 'directory', path: `${USERLAND_ROOT}${name}`, permissions: 0o755 }),
    );
    return writeCpio([root, ...mountPoints, ...(await entriesOf(folder, ''))]);
  });
}

/** What the tests of devices and networks run; a folder to share with a guest, which uses it as its root. */
export function debianTools(): Promise<string> {
  // The name changes with what is in it.
  const content = JSON.stringify([TOOLS_PACKAGES, TOOLS_FILES, TOOLS_FOLDERS]);
  const name = `tools-${createHash('sha256').update(content).digest('hex').slice(0, 12)}`;
  return cachedFolder(systemTestsCache(), name, async (apt, folder) => {
    await apt.unpack(await apt.resolve(TOOLS_PACKAGES), folder);
    for (const [path, text] of Object.entries(TOOLS_FILES)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    }
    for (const place of TOOLS_FOLDERS) await mkdir(join(folder, place), { recursive: true });
    await symlink('../run/resolv.conf', join(folder, 'etc/resolv.conf'));
  });
}

const TOOLS_PACKAGES = [
  ...[
    'bash',
    'coreutils',
    'curl',
    'dash',
    'fio',
    'git',
    'grep',
    'iperf3',
    'make',
    'openssh-client',
    'openssh-server',
    'socat',
  ],
];
/** Places where the guest mounts something. */
const TOOLS_FOLDERS = ['dev', 'mnt', 'proc', 'root', 'run', 'sys', 'tmp', 'work'];
const TOOLS_FILES: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/bash\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  'etc/shadow': 'root:*:19000:0:99999:7:::\n',
  'etc/hosts': '127.0.0.1 localhost vireo\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n',
};

/** What a small Debian has that boots from a disk; its init is the test's. A folder for `mke2fs -d`. */
export function debianRoot(): Promise<string> {
  const content = JSON.stringify([ROOT_PACKAGES, ROOT_FOLDERS]);
  const name = `root-${createHash('sha256').update(content).digest('hex').slice(0, 12)}`;
  return cachedFolder(systemTestsCache(), name, async (apt, folder) => {
    await apt.unpack(await apt.resolve(ROOT_PACKAGES), folder);
    for (const place of ROOT_FOLDERS) await mkdir(join(folder, place), { recursive: true });
    for (const place of ROOT_LEFT_OUT) await rm(join(folder, place), { recursive: true, force: true });
  });
}

const ROOT_PACKAGES = ['bash', 'busybox-static', 'coreutils', 'dash', 'e2fsprogs', 'ethtool', 'grep', 'mount'];
const ROOT_FOLDERS = ['dev', 'lib/modules', 'proc', 'root', 'run', 'sys', 'tmp', 'usr/local/bin'];
const ROOT_LEFT_OUT = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/info'];

/** Shell commands that make a shared folder with the tools, mounted at /mnt/tools, the place where `chroot /t` leads. */
export const ENTER_TOOLS = `
  mkdir /t; mount -o bind /mnt/tools /t
  for name in dev proc sys; do mount -o rbind /$name /t/$name; done
  for name in tmp run root; do mount -t tmpfs tmpfs /t/$name; done
  chmod 700 /t/root; chmod 1777 /t/tmp; mkdir /t/run/sshd
  [ -e /etc/resolv.conf ] && cp /etc/resolv.conf /t/run/resolv.conf
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

function systemTestsCache(): string {
  return join(cacheFolder(process.env), 'system-tests');
}

/** What lies below `folder`, directories before what is in them. */
async function entriesOf(root: string, folder: string): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const file of (await readdir(join(root, folder), { withFileTypes: true })).sort()) {
    const inRoot = folder === '' ? file.name : `${folder}/${file.name}`;
    if (LEFT_OUT.test(inRoot)) continue;
    const [from, path] = [join(root, inRoot), `${USERLAND_ROOT}${inRoot}`];
    const permissions = file.isSymbolicLink() ? 0o777 : (await stat(from)).mode & 0o7777;
    if (file.isSymbolicLink()) entries.push({ kind: 'symlink', path, target: await readlink(from) });
    else if (file.isDirectory())
      entries.push({ kind: 'directory', path, permissions }, ...(await entriesOf(root, inRoot)));
    else entries.push({ kind: 'file', path, permissions, data: await readFile(from) });
  }
  return entries;
}

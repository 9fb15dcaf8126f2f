/** The initramfs of a computer that is a host of guests: busybox, Node, the built project, KVM's modules, a default guest. */
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CpioEntry, writeCpio } from '../../src/base/index.ts';
import { cacheFolder } from '../../src/host/node/guest/cache-folder.ts';

/** Where the default guest is in the cache folder. */
const GUEST = 'guest-debian-cloud-amd64';
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Suites of tiny guests, and what they use that is not part of the built project. */
const SUITES = [
  'src/accel/kvm/!(ends).test.ts',
  'src/accel/kvm/testing/*.ts',
  'src/accel/testing/both.test.ts',
  'src/accel/tcg/testing/environment.ts',
  'src/machine/accelerators.test.ts',
  'src/machine/testing/*.ts',
  'src/hw/testing/kernels.ts',
];

/** A test without its types, which names other modules as they are named when built. */
function plainJavaScript(path: string): Uint8Array {
  const text = stripTypeScriptTypes(readFileSync(path, 'utf8'));
  return new TextEncoder().encode(text.replaceAll(/(?<='\.\.?\/[^'\n]*)\.ts(?=')/g, '.js'));
}

/** Loads KVM, runs the suite, and powers off; what the suite prints is between two marks. */
const INIT = `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root XDG_CACHE_HOME=/cache NODE_NO_WARNINGS=1
/bin/busybox mkdir -p /proc /sys /dev /tmp /root /usr/bin /usr/sbin /sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
ip link set lo up
for module in irqbypass kvm kvm-amd; do insmod /modules/$module.ko; done
ulimit -c 0
echo 4 > /proc/sys/vm/nr_hugepages
cd /tmp
node /vireo/suite.mjs </dev/null 2>&1
echo "suite: exit code $?"
poweroff -f
`;

/**
 * @param modules KVM's, by file name
 * @param suite the program that it runs
 */
export function hostImage(modules: readonly (readonly [string, Uint8Array])[], suite: Uint8Array): Uint8Array {
  const files = new Map<string, Uint8Array>();
  const add = (path: string, from: string) => files.set(path.replace(/^\//, ''), readFileSync(from));
  files.set('init', new TextEncoder().encode(INIT));
  for (const [name, data] of modules) files.set(`modules/${name}`, data);
  add('bin/node', process.execPath);
  for (const library of librariesOf(process.execPath)) add(library, library);
  for (const path of globSync('dist/**/*.js', { cwd: ROOT })) add(`vireo/${path}`, join(ROOT, path));
  for (const path of SUITES.flatMap((pattern) => globSync(pattern, { cwd: ROOT }))) {
    files.set(`vireo/${path.replace(/^src/, 'dist').replace(/ts$/, 'js')}`, plainJavaScript(join(ROOT, path)));
  }
  files.set('vireo/suite.mjs', suite);
  files.set('vireo/package.json', new TextEncoder().encode('{"type":"module"}'));
  const guest = join(cacheFolder(process.env), GUEST);
  for (const path of globSync('*', { cwd: guest })) add(`cache/vireo/${GUEST}/${path}`, join(guest, path));
  add('bin/busybox', join(guest, 'busybox'));
  return writeCpio([...directoriesOf([...files.keys()]), CONSOLE, ...[...files].map(asFile)]);
}

const CONSOLE: CpioEntry = { kind: 'character-device', path: 'dev/console', permissions: 0o600, major: 5, minor: 1 };

function asFile([path, data]: [string, Uint8Array]): CpioEntry {
  return { kind: 'file', path, permissions: 0o755, data };
}

function directoriesOf(paths: readonly string[]): CpioEntry[] {
  const all = new Set(['dev']);
  for (const path of paths) {
    for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) all.add(folder);
  }
  const sorted = [...all].sort((a, b) => a.length - b.length);
  return sorted.map((path) => ({ kind: 'directory', path, permissions: 0o755 }));
}

/** The shared libraries of a program, and its loader. */
function librariesOf(program: string): string[] {
  const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' });
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path);
}

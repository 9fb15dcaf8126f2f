/** What the default guest's kernel unpacks as its root: busybox, an init, and a few empty places. */
import { type CpioEntry, writeCpio } from '../../../base/index.ts';
import { DHCP_SCRIPT, initScript, PROFILE } from './init-script.ts';
import type { GuestKernel } from './modules.ts';

const DIRECTORIES = [
  'bin',
  'dev',
  'etc',
  'etc/udhcpc',
  'lib',
  'lib/modules',
  'mnt',
  'proc',
  'root',
  'run',
  'sbin',
  'sys',
  'tmp',
  'usr',
  'usr/bin',
  'usr/sbin',
];

const TEXT_FILES: Readonly<Record<string, string>> = {
  'etc/group': 'root:x:0:\n',
  'etc/hosts': '127.0.0.1 localhost vireo\n::1 localhost\n',
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
  'etc/profile': PROFILE,
};

/**
 * @param busybox A static x86-64 busybox.
 * @param modules The kernel's modules, by file name.
 * @param kernel Whose modules they are.
 */
export function buildInitramfs(
  busybox: Uint8Array,
  modules: readonly { readonly name: string; readonly data: Uint8Array }[],
  kernel: GuestKernel = 'cloud',
): Uint8Array<ArrayBuffer> {
  const directories = DIRECTORIES.map((path): CpioEntry => ({ kind: 'directory', path, permissions: 0o755 }));
  const textFiles = Object.entries(TEXT_FILES).map(([path, text]) => file(path, 0o644, encode(text)));
  return writeCpio([
    ...directories,
    // The kernel opens /dev/console for init before init can mount /dev.
    { kind: 'character-device', path: 'dev/console', permissions: 0o600, major: 5, minor: 1 },
    ...textFiles,
    file('bin/busybox', 0o755, busybox),
    ...modules.map(({ name, data }) => file(`lib/modules/${name}`, 0o644, data)),
    file('etc/udhcpc/default.script', 0o755, encode(DHCP_SCRIPT)),
    file('init', 0o755, encode(initScript(kernel))),
  ]);
}

/** An initramfs that makes the default guest run `command` with sh instead of an interactive shell. */
export function withExec(initramfs: Uint8Array, command: string): Uint8Array<ArrayBuffer> {
  const overlay = writeCpio([
    { kind: 'directory', path: 'vireo', permissions: 0o755 },
    file('vireo/exec', 0o755, encode(`${command}\n`)),
  ]);
  const joined = new Uint8Array(initramfs.length + overlay.length);
  joined.set(initramfs);
  joined.set(overlay, initramfs.length);
  return joined;
}

function file(path: string, permissions: number, data: Uint8Array): CpioEntry {
  return { kind: 'file', path, permissions, data };
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

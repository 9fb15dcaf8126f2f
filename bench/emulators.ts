/** The programs that are compared, started on the same guest. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { UserError } from '../src/base/index.ts';
import type { Architecture } from './debian.ts';

export type EmulatorName = 'vireo' | 'qemu' | 'v86';

/** A guest, as files on the host. */
export interface Guest {
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly commandLine: string;
  readonly memoryMebibytes: number;
  /** CPU model; the same name means nearly the same CPUID in both. */
  readonly cpu: string;
}

export interface Emulator {
  readonly name: EmulatorName;
  /** Of its guests. */
  readonly architecture: Architecture;
  /** For the line that says what was measured. */
  readonly title: string;
  /** A command line whose standard output is the guest's first serial port. */
  readonly command: (guest: Guest) => readonly [program: string, ...args: string[]];
}

const VIREO = fileURLToPath(new URL('../bin/vireo', import.meta.url));
const V86_RUN = fileURLToPath(new URL('v86-run.ts', import.meta.url));
/** Of Debian's package seabios. */
const FIRMWARE = '/usr/share/seabios';
const QEMU = 'qemu-system-x86_64';

export function vireo(version: string): Emulator {
  return {
    name: 'vireo',
    architecture: 'amd64',
    title: `Vireo ${version} on Node ${process.versions.node}`,
    command: ({ kernelPath, initrdPath, commandLine, memoryMebibytes, cpu }) => [
      process.execPath,
      ...[VIREO, 'run', '--accel', 'tcg', '--kernel', kernelPath, '--initrd', initrdPath, '--append', commandLine],
      ...['--memory', `${memoryMebibytes}M`, '--cpu', cpu],
    ],
  };
}

/** QEMU's translator on its default board, without the devices that Vireo's lacks. Throws a `UserError` without QEMU. */
export function qemu(): Emulator {
  const { status, stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  if (status !== 0)
    throw new UserError(`there is no ${QEMU} to compare with: apt install qemu-system-x86, or use --alone`);
  const [, version] = /version (\S+)/.exec(stdout) ?? [];
  return {
    name: 'qemu',
    architecture: 'amd64',
    title: `QEMU ${version} -accel tcg`,
    command: ({ kernelPath, initrdPath, commandLine, memoryMebibytes, cpu }) => [
      QEMU,
      ...['-accel', 'tcg', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-cpu', cpu, '-m', `${memoryMebibytes}M`],
      ...['-kernel', kernelPath, '-initrd', initrdPath, '-append', commandLine],
      // The default guest's init opens all four ports.
      ...['-serial', 'stdio', '-serial', 'null', '-serial', 'null', '-serial', 'null'],
    ],
  };
}

/**
 * v86 from the npm registry, a 32-bit PC on the same Node, in its own best configuration: without the
 * mitigations of CPU faults that its guest would pay for. Throws a `UserError` without a BIOS.
 */
export function v86(version: string): Emulator {
  if (!existsSync(FIRMWARE)) throw new UserError(`v86 needs a BIOS in ${FIRMWARE}: apt install seabios`);
  return {
    name: 'v86',
    architecture: 'i386',
    title: `v86 ${version} (32 bits)`,
    command: ({ kernelPath, initrdPath, commandLine, memoryMebibytes }) => [
      process.execPath,
      ...[V86_RUN, FIRMWARE, kernelPath, initrdPath, `${commandLine} mitigations=off`, `${memoryMebibytes}`],
    ],
  };
}

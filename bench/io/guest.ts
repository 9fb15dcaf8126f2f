/** One guest for both emulators: the same kernel, initramfs, disk, folders and script; what differs is who runs it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { UserError } from '../../src/base/index.ts';
import { defaultGuest, withExec } from '../../src/host/node/index.ts';
import { cpuSeconds } from '../host-usage.ts';

export type EmulatorName = 'vireo' | 'qemu';

const VIREO = fileURLToPath(new URL('../../bin/vireo', import.meta.url));
const QEMU = 'qemu-system-x86_64';
const MEMORY_MEBIBYTES = 768;
const DISK_BYTES = 512 * 2 ** 20;
/** Which serial port carries what the script prints. */
const OUT_PORT = 1;
const RUN_MILLIS_MAX = 600_000;

export interface IoGuest {
  readonly folder: string;
  /** Runs the script in one emulator. */
  run(emulator: EmulatorName): Promise<GuestRun>;
}

export interface GuestRun {
  readonly printed: string;
  /** CPU time that the emulator had used when each line was printed. */
  readonly cpuSeconds: readonly number[];
}

/** @param script runs in the default guest, with the tools at /mnt/tools, a folder at /mnt/work, /dev/vda and eth0 */
export async function ioGuest(folder: string, tools: string, script: string): Promise<IoGuest> {
  const { kernel, initramfs, commandLine } = await defaultGuest({ guestKernel: 'generic' });
  const paths = { kernel: join(folder, 'kernel'), initrd: join(folder, 'initrd'), disk: join(folder, 'disk.img') };
  await writeFile(paths.kernel, kernel);
  await writeFile(paths.initrd, withExec(initramfs, script));
  await mkdir(join(folder, 'work'));
  await using disk = await open(paths.disk, 'w');
  const piece = Buffer.alloc(2 ** 20, 'Vireo');
  for (let at = 0; at < DISK_BYTES; at += piece.length) await disk.write(piece);
  await disk.sync();

  const commands: Record<EmulatorName, (ports: readonly string[]) => readonly string[]> = {
    vireo: () => [
      ...[process.execPath, VIREO, 'run', '--accel', 'tcg', '--exec', script],
      ...['--memory', `${MEMORY_MEBIBYTES}M`, '--disk', `${paths.disk},format=raw`, '--net', 'user'],
      ...['--share', `${tools}:tools,readonly`, '--share', `${join(folder, 'work')}:work`],
    ],
    qemu: (ports) => [
      ...[QEMU, '-accel', 'tcg', '-machine', 'q35', '-cpu', 'max', '-m', String(MEMORY_MEBIBYTES), '-nodefaults'],
      ...['-display', 'none', '-no-reboot', '-kernel', paths.kernel, '-initrd', paths.initrd, '-append', commandLine],
      ...[
        '-drive',
        `file=${paths.disk},if=none,id=d,format=raw`,
        '-device',
        'virtio-blk-pci,drive=d,disable-legacy=on',
      ],
      ...['-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n,disable-legacy=on'],
      ...['-fsdev', `local,id=t,path=${tools},security_model=none,readonly=on`],
      ...['-device', 'virtio-9p-pci,fsdev=t,mount_tag=tools,disable-legacy=on'],
      ...['-fsdev', `local,id=w,path=${join(folder, 'work')},security_model=none`],
      ...['-device', 'virtio-9p-pci,fsdev=w,mount_tag=work,disable-legacy=on'],
      ...ports.flatMap((port) => ['-serial', port]),
    ],
  };
  return {
    folder,
    async run(emulator) {
      const outputs = ['console', 'out', 'err', 'status'].map((name) => join(folder, `${emulator}.${name}`));
      const isQemu = emulator === 'qemu';
      // Vireo's --exec makes the same initramfs and speaks the same protocol over its serial ports.
      const command = commands[emulator](outputs.map((path, port) => (port === OUT_PORT ? 'stdio' : `file:${path}`)));
      const [program, ...args] = command;
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: RUN_MILLIS_MAX });
      let stderr = '';
      child.stderr.on('data', (bytes) => {
        stderr += bytes;
      });
      const closed = once(child, 'close');
      const lines: string[] = [];
      const cpu: number[] = [];
      for await (const line of createInterface(child.stdout)) {
        lines.push(line);
        cpu.push(cpuSeconds(child.pid ?? 0) ?? 0);
      }
      const [code] = await closed;
      const printed = `${lines.join('\n')}\n`;
      if (isQemu) stderr += await readFile(outputs[2], 'utf8');
      if (code === 0 && printed.includes('done\n')) return { printed, cpuSeconds: cpu };
      throw new UserError(`the guest in ${emulator} did not come to its end:\n${`${printed}${stderr}`.slice(-2000)}`);
    },
  };
}

/** The oracle of guest programs: QEMU's TCG, which runs the same file. */
import { spawnSync } from 'node:child_process';

const program = 'qemu-system-x86_64';
const limitMillis = 30_000;

/** Why there is no oracle, or undefined. */
export function whyNoQemu(): string | undefined {
  return spawnSync(program, ['--version']).status === 0
    ? undefined
    : `no ${program}: install qemu-system-x86 to have guests compared with it`;
}

/** What the guest writes to the debug port under QEMU. */
export function runInQemu(path: string): string {
  const args = [
    '-accel',
    'tcg',
    '-cpu',
    'max',
    '-M',
    'pc',
    '-m',
    '64',
    '-nodefaults',
    '-display',
    'none',
    '-no-reboot',
  ];
  const devices = ['-debugcon', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-kernel', path];
  const { stdout, stderr, error, status } = spawnSync(program, [...args, ...devices], {
    encoding: 'latin1',
    timeout: limitMillis,
  });
  if (error || status !== 1) throw new Error(`QEMU ended with ${error?.message ?? status}: ${stderr}`);
  return stdout;
}

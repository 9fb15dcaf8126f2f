/** `npm run bench:kvm`: a table of figures, each beside its peer's from the same run. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kvmMissing } from '../../src/accel/kvm/testing/tiny-guest.ts';
import { nodeKvmHost } from '../../src/host/node/index.ts';
import { bareExits, callNanos, messageNanos } from './exits.ts';
import { qemuStart, type Start, vireoStart } from './start.ts';
import { interruptMicros, kickMicros, manyVcpus, threadExits } from './threads.ts';

const EXITS = 50_000;
const ROUNDS = 5;
const LATENCIES = 200;
const STARTS = 7;

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const line = (name: string, value: string) => process.stdout.write(`${name.padEnd(58)} ${value}\n`);
const thousands = (value: number) => `${(value / 1000).toFixed(1)} k/s`;

if (kvmMissing) {
  process.stdout.write(`bench:kvm needs /dev/kvm: ${kvmMissing}\n`);
} else {
  line('/dev/kvm', existsSync('/sys/module/kvm_pvm') ? 'PVM: no hardware virtualization' : 'hardware');
  exits();
  const [kicks, interrupts] = [await kickMicros(LATENCIES), await interruptMicros(LATENCIES)];
  line('one call of KVM_CHECK_EXTENSION', `${callNanos(nodeKvmHost(), 200_000).toFixed(0)} ns`);
  const message = messageNanos(50_000);
  line('a message to a local APIC', `${message.call.toFixed(0)} ns by a call, ${message.irqfd.toFixed(0)} ns by irqfd`);
  line('exits a second, device and vCPU in two threads', thousands(await threadExits(EXITS)));
  line('a busy vCPU stopped, median', `${median(kicks).toFixed(1)} µs`);
  line("message to a sleeping guest's handler to device, median", `${median(interrupts).toFixed(1)} µs`);
  line('255 vCPUs made, run and closed', await manyVcpus(255));
  await starts();
}

/** Ours and C's by turns, so that both meet the same host. */
function exits(): void {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-bench-'));
  try {
    const program = join(folder, 'exits');
    execFileSync('gcc', ['-O2', '-o', program, fileURLToPath(new URL('./exits.c', import.meta.url))]);
    const rounds = Array.from({ length: ROUNDS }, () => {
      const c = Number(execFileSync(program, [String(EXITS)], { encoding: 'utf8' }).split(' ')[0]);
      return { c, ours: bareExits(EXITS) };
    });
    const [c, ours] = [median(rounds.map((round) => round.c)), median(rounds.map((round) => round.ours))];
    const ratio = median(rounds.map((round) => round.ours / round.c));
    line('exits a second, one thread', `${thousands(ours)}; C ${thousands(c)}; ratio ${ratio.toFixed(2)}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function starts(): Promise<void> {
  const hasQemu = spawnSync('qemu-system-x86_64', ['--version']).status === 0;
  const [ours, qemu]: [Start[], Start[]] = [[], []];
  const cache = mkdtempSync(join(tmpdir(), 'vireo-bench-'));
  try {
    await vireoStart(cache);
    for (let i = 0; i < STARTS; i++) {
      ours.push(await vireoStart(cache));
      if (hasQemu) qemu.push(await qemuStart());
    }
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
  const text = (all: readonly Start[], key: keyof Start, unit: string) =>
    all.length === 0 ? 'not installed' : `${median(all.map((one) => one[key])).toFixed(0)} ${unit}`;
  line(
    "process start to the guest's first output",
    `${text(ours, 'millis', 'ms')}; QEMU microvm ${text(qemu, 'millis', 'ms')}`,
  );
  line('resident memory then', `${text(ours, 'residentMib', 'MiB')}; QEMU microvm ${text(qemu, 'residentMib', 'MiB')}`);
}

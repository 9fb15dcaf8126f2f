// What runs on the KVM host inside the emulator: plain JavaScript on the built project.
// Each check prints one line; the last says whether all passed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createMachine, defaultGuest, exec, restoreMachine, saveMachine } from '/vireo/dist/cli/index.js';

const MIB = 1024 ** 2;
const accel = ['kvm'];
let failures = 0;

/** Of one check, on a host as slow as an emulated one. */
const LIMIT_MILLIS = 500_000;
/** Machines on the software CPU and the suites take minutes in an emulated host: with VIREO_KVM_LONG alone. */
const isLong = process.env.VIREO_KVM_LONG !== undefined;

async function check(name, body) {
  console.log(`suite: ${name}`);
  const start = performance.now();
  try {
    const late = Promise.withResolvers();
    const timeout = setTimeout(() => late.reject(new Error('it takes too long')), LIMIT_MILLIS);
    await Promise.race([body(), late.promise]).finally(() => clearTimeout(timeout));
    console.log(`ok: ${name} (${Math.round(performance.now() - start)} ms)`);
  } catch (error) {
    failures++;
    console.log(`not ok: ${name}: ${error.stack ?? error}`);
  }
}

function equal(found, wanted) {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
}

/** What the command printed; its errors are ours. */
async function run(command, options = {}) {
  const { exitCode, stdout, stderr } = await exec(command, { accel, memoryBytes: 192 * MIB, ...options });
  const [out, err] = [stdout, stderr].map((bytes) => Buffer.from(bytes).toString());
  if (exitCode !== 0 || err !== '') throw new Error(`exit code ${exitCode}: ${err} ${out}`);
  return out;
}

await check('Debian on 1 CPU: --exec, a disk, the network', async () => {
  const server = createServer((_request, response) => response.end('from the host\n')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  writeFileSync('/tmp/disk.raw', new Uint8Array(8 * MIB));
  const out = await run(
    `uname -sm; nproc; grep -c hypervisor /proc/cpuinfo; cat /sys/devices/system/clocksource/clocksource0/current_clocksource
     wget -q -O - http://10.0.2.2:${server.address().port}/
     seq 100000 > /dev/vda; sync; head -c 588895 /dev/vda | tail -n 1`,
    { disks: [{ file: '/tmp/disk.raw', format: 'raw' }], networks: [{ kind: 'user' }] },
  );
  server.close();
  equal(out, 'Linux x86_64\n1\n1\nkvm-clock\nfrom the host\n100000\n');
  equal(readFileSync('/tmp/disk.raw').subarray(0, 6).toString(), '1\n2\n3\n');
});

/** The console of a machine: what it shows, in order. */
function consoleOf(machine) {
  const { readable, writable } = machine.serial[0];
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  let shown = '';
  return {
    type: (line) => writer.write(Buffer.from(`${line}\n`)),
    /** @returns all from the last time on until `text` is there */
    async until(text) {
      for (;;) {
        const at = shown.indexOf(text);
        if (at >= 0) {
          const before = shown.slice(0, at);
          shown = shown.slice(at + text.length);
          return before;
        }
        const { value, done } = await reader.read();
        if (done) throw new Error(`the guest ended without ${text}: ${shown}`);
        shown += Buffer.from(value).toString('latin1');
      }
    },
  };
}

await check('Debian on 2 CPUs, split irqchip: pauses, a snapshot that goes on, stop and power-off', async () => {
  const { kernel, initramfs, commandLine } = await defaultGuest();
  // What the software CPU has, too.
  const cpu = 'qemu64,-svm,kvm=off';
  const boot = { kernel, initrd: initramfs, commandLine: `${commandLine} no_timer_check` };
  const machine = await createMachine({
    ...{ accel, cpus: 2, cpu, kernelIrqchip: 'split', memoryBytes: 192 * MIB, boot },
  });
  await machine.start();
  const shell = consoleOf(machine);
  await shell.until('# ');
  shell.type('nproc; for i in 1 2 3 4; do (seq 20000 | md5sum) & done; wait; echo all $((6*7))');
  for (let i = 0; i < 5; i++) {
    await machine.command('pause');
    const rip = async () => (await machine.command('read-cpu')).rip;
    equal(String(await rip()), String(await rip()));
    await machine.command('resume');
  }
  const output = await shell.until('all 42');
  const sums = output.match(/\b[0-9a-f]{32}\b/g);
  equal([sums.length, new Set(sums).size, /^2\r?$/m.test(output)], [4, 1, true]);
  await shell.until('# ');
  const snapshot = await Array.fromAsync(saveMachine(machine), (piece) => piece.slice()); // the pieces share memory
  await machine.stop();
  equal((await machine.exited).reason, 'stopped');
  for (const other of isLong ? ['tcg', 'kvm'] : ['kvm']) {
    const start = performance.now();
    const copy = await restoreMachine(snapshot, { accel: [other] });
    await copy.start();
    const again = consoleOf(copy);
    again.type('echo back $((6*7))');
    await again.until('back 42');
    console.log(`snapshot under ${other}: ${Math.round(performance.now() - start)} ms`);
    if (other === 'kvm') again.type('exit');
    else await copy.stop();
    equal((await copy.exited).reason, other === 'kvm' ? 'poweroff' : 'stopped');
  }
});

async function runSuites(...args) {
  const options = ['--test', '--test-isolation=none', '--test-reporter=spec'];
  const noDebugRegisters = "QEMU's SVM loads no debug registers";
  const env = { VIREO_KVM_CPUS: '16', ...process.env, VIREO_KVM_NO_DEBUG_REGISTERS: noDebugRegisters };
  const child = spawn(process.execPath, [...options, ...args], { stdio: 'inherit', env });
  equal(await once(child, 'exit'), [0, null]);
}

if (isLong) {
  await check('the suites of src/accel', () => runSuites(...globSync('/vireo/dist/accel/**/*.test.js')));
  await check('snapshots of each accelerator go on under the other', () =>
    runSuites('--test-name-pattern=^a snapshot of', '/vireo/dist/machine/accelerators.test.js'),
  );
}

await check('a process ends at once while its guest runs', async () => {
  const child = spawn(process.execPath, ['/vireo/dist/accel/kvm/testing/left-guest.js', 'busy'], { stdio: 'inherit' });
  equal(await once(child, 'exit'), [7, null]);
});

console.log(failures === 0 ? 'suite: all passed' : `suite: ${failures} failed`);
process.exit(failures === 0 ? 0 : 1);

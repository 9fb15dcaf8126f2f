// What runs on the KVM host inside the emulator: plain JavaScript on the built project.
// Each check prints one line; the last says whether all passed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createMachine, defaultGuest, exec } from '/vireo/dist/cli/index.js';

const MIB = 1024 ** 2;
const accel = ['kvm'];
let failures = 0;

/** Of one check, on a host as slow as an emulated one. */
const LIMIT_MILLIS = 200_000;

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

await check('Debian on 2 CPUs', async () => {
  const out = await run('nproc; for i in 1 2 3 4; do (seq 20000 | md5sum) & done; wait', { cpus: 2 });
  equal(out.split('\n')[0], '2');
  equal(new Set(out.trim().split('\n').slice(1)).size, 1);
});

await check('a machine is stopped while its guest runs', async () => {
  const { kernel, initramfs, commandLine } = await defaultGuest();
  const boot = { kernel, initrd: initramfs, commandLine };
  const machine = await createMachine({ accel, cpus: 2, memoryBytes: 192 * MIB, boot });
  await machine.start();
  const reader = machine.serial[0].readable.getReader();
  await reader.read();
  await machine.stop();
  equal((await machine.exited).reason, 'stopped');
});

await check('a process ends at once while its guest runs', async () => {
  const program = `
    import { createMachine, defaultGuest } from '/vireo/dist/cli/index.js';
    const { kernel, initramfs, commandLine } = await defaultGuest();
    const boot = { kernel, initrd: initramfs, commandLine };
    const machine = await createMachine({ accel: ['kvm'], memoryBytes: ${192 * MIB}, boot });
    await machine.start();
    await machine.serial[0].readable.getReader().read();
    process.exit(7);`;
  writeFileSync('/tmp/end.mjs', program);
  const child = spawn(process.execPath, ['/tmp/end.mjs'], { stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  equal(code, 7);
});

console.log(failures === 0 ? 'suite: all passed' : `suite: ${failures} failed`);
process.exit(failures === 0 ? 0 : 1);

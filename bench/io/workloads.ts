/** What the guest does, and what it prints of it. */

export interface Workload {
  readonly name: string;
  readonly unit: 'MiB/s' | 'requests/s';
}

const FIO = ['read', 'write', 'randread', 'randwrite'] as const;
export const WORKLOADS: readonly Workload[] = [
  { name: 'virtio-blk read, 128 KiB', unit: 'MiB/s' },
  { name: 'virtio-blk write, 128 KiB', unit: 'MiB/s' },
  { name: 'virtio-blk random read, 4 KiB', unit: 'requests/s' },
  { name: 'virtio-blk random write, 4 KiB', unit: 'requests/s' },
  { name: 'TCP, guest to host', unit: 'MiB/s' },
  { name: 'TCP, host to guest', unit: 'MiB/s' },
  { name: '9p write', unit: 'MiB/s' },
  { name: '9p read', unit: 'MiB/s' },
  { name: '9p files made, read and removed', unit: 'requests/s' },
];

const SHARE_MEBIBYTES = 256;
const SMALL_FILES = 400;

export interface ScriptOptions {
  /** How long each workload of disks and networks runs. */
  readonly seconds: number;
  /** How long each of them runs before that without being measured. */
  readonly warmUpSeconds: number;
  /** Where iperf3's server listens, on the host's loopback. */
  readonly iperfPort: number;
  /** Shell commands that make the tools the place where `chroot /t` leads. */
  readonly enterTools: string;
}

/** Prints `begin INDEX` and `INDEX VALUE` for each workload, then `done`. */
export function scriptOf({ seconds, warmUpSeconds, iperfPort, enterTools }: ScriptOptions): string {
  const fio = FIO.map((kind, index) => {
    const isRandom = kind.startsWith('rand');
    // Fields of fio's terse output, version 3: bandwidth in KiB/s or requests a second, and milliseconds.
    const fields = (isRandom ? [8, 9] : [7, 9]).map((field) => field + (kind.endsWith('read') ? 0 : 41));
    const run = (runSeconds: number) => `fio --name=x --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=16 \\
      --size=384M --time_based --runtime=${runSeconds} --rw=${kind} --bs=${isRandom ? '4k' : '128k'} \\
      --output-format=terse --terse-version=3`;
    return `
    ${warmUpSeconds > 0 ? `${run(warmUpSeconds)} > /tmp/warm-up` : ''}
    echo begin ${index}
    line=$(${run(seconds)})
    echo ${index} $(echo "$line" | cut -d";" -f${fields} --output-delimiter=" ")`;
  });
  const iperf = (index: number, direction: string) => `
    echo begin ${index}
    echo ${index} $(iperf3 -c 10.0.2.2 -p ${iperfPort} -t ${seconds} -O ${warmUpSeconds} -f k ${direction} | grep receiver)`;
  const timed = (index: number, amount: number, command: string) => `
    echo begin ${index}
    t=$EPOCHREALTIME; ${command}; echo ${index} amount=${amount} from=$t to=$EPOCHREALTIME`;
  return `${enterTools}
  mount -o bind /mnt/work /t/work
  cat > /t/tmp/run <<'END'
    ${fio.join('')}
    ${iperf(4, '')}
    ${iperf(5, '--reverse')}
    ${timed(6, SHARE_MEBIBYTES, `dd if=/dev/zero of=/work/big bs=1M count=${SHARE_MEBIBYTES} 2>/dev/null`)}
    ${timed(7, SHARE_MEBIBYTES, `dd if=/work/big of=/dev/null bs=1M 2>/dev/null`)}
    rm /work/big
    ${timed(8, SMALL_FILES, `for ((i = 0; i < ${SMALL_FILES}; i++)); do echo x > /work/f$i; read y < /work/f$i; done; rm /work/f*`)}
    echo done
END
  chroot /t bash /tmp/run`;
}

/** What one workload came to. */
export interface Outcome {
  /** In the workload's unit. */
  readonly value: number;
  /** The same for each second of CPU time instead of each second, which a busy host changes less. */
  readonly perCpuSecond: number;
}

/** @param cpuSeconds CPU time that the emulator had used at each line of `output` */
export function parseOutput(output: string, cpuSeconds: readonly number[]): Outcome[] {
  const lines = output.split('\n').map((line) => line.trimEnd());
  return WORKLOADS.map(({ unit }, index) => {
    const at = lines.findIndex((line) => line.startsWith(`${index} `));
    const line = lines[at]?.slice(2) ?? '';
    const [value, seconds] = measuredBy(line, unit);
    if (!(value > 0)) throw new Error(`no value of workload ${index} in:\n${output}`);
    const begin = lines.indexOf(`begin ${index}`);
    return { value, perCpuSecond: (value * seconds) / (cpuSeconds[at] - cpuSeconds[begin]) };
  });
}

/** A workload's value, and for how long it was at it. */
function measuredBy(line: string, unit: Workload['unit']): [value: number, seconds: number] {
  const [, amount, from, to] = /^amount=(\d+) from=([\d.]+) to=([\d.]+)$/.exec(line) ?? [];
  if (amount !== undefined) return [Number(amount) / (Number(to) - Number(from)), Number(to) - Number(from)];
  const [, until, kilobits] = /-([\d.]+) +sec .* (\d+) Kbits\/sec /.exec(line) ?? [];
  if (kilobits !== undefined) return [(Number(kilobits) * 1000) / 8 / 2 ** 20, Number(until)];
  const [value, millis] = line.split(' ').map(Number);
  return [unit === 'MiB/s' ? value / 1024 : value, millis / 1000];
}

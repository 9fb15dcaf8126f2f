/** What the block benchmark measures: command lines for qemu-img that vireo-img must take as they are. */

/** Files that the cases share, made once. */
export const FILES = {
  raw: 'disk.raw',
  qcow2: 'disk.qcow2',
  overlay: 'overlay.qcow2',
  large: 'large.qcow2',
  full: 'full.qcow2',
} as const;

export interface Case {
  readonly name: string;
  /** A command line without the program's name. */
  readonly line: string;
  /** Run before each measurement, by qemu-img; files named `out…` are removed before it. */
  readonly before?: string;
  /** Files read, to be in the page cache before each measurement. */
  readonly reads: readonly string[];
  /** The program prints its own time, without its start. */
  readonly timesItself?: true;
  /** Compared with the source after the first run of each side. */
  readonly output?: { readonly file: string; readonly format: string };
  /** Skipped unless vireo-img has the format. */
  readonly needsFormat?: string;
}

const READ_REQUESTS = 100_000;
const WRITE_REQUESTS = 20_000;
/** An odd number of pages: the requests go all over the disk. */
const STEP_BYTES = 100_003 * 4096;

export const CASES: readonly Case[] = [
  { name: 'start, --version', line: '--version', reads: [] },
  { name: 'start, info', line: `info ${FILES.qcow2}`, reads: [] },
  { name: 'raw to qcow2', line: `convert -O qcow2 ${FILES.raw} out`, reads: [FILES.raw], output: qcow2Output() },
  {
    name: 'qcow2 to raw',
    line: `convert -f qcow2 -O raw ${FILES.qcow2} out`,
    reads: [FILES.qcow2],
    output: { file: 'out', format: 'raw' },
  },
  {
    name: 'compressed, zlib',
    line: `convert -c -O qcow2 ${FILES.raw} out`,
    reads: [FILES.raw],
    output: qcow2Output(),
  },
  {
    name: 'compressed, zstd',
    line: `convert -c -O qcow2 -o compression_type=zstd ${FILES.raw} out`,
    reads: [FILES.raw],
    output: qcow2Output(),
  },
  {
    name: 'zlib, any order',
    line: `convert -c -W -O qcow2 ${FILES.raw} out`,
    reads: [FILES.raw],
    output: qcow2Output(),
  },
  {
    name: 'zstd, any order',
    line: `convert -c -W -O qcow2 -o compression_type=zstd ${FILES.raw} out`,
    reads: [FILES.raw],
    output: qcow2Output(),
  },
  {
    name: 'from compressed',
    before: `convert -c -O qcow2 ${FILES.raw} out-packed`,
    line: 'convert -f qcow2 -O raw out-packed out',
    reads: [],
    output: { file: 'out', format: 'raw' },
  },
  {
    name: 'qcow2 to vmdk',
    line: `convert -f qcow2 -O vmdk ${FILES.qcow2} out`,
    reads: [FILES.qcow2],
    output: { file: 'out', format: 'vmdk' },
    needsFormat: 'vmdk',
  },
  { name: 'check', line: `check ${FILES.qcow2}`, reads: [FILES.qcow2] },
  { name: 'check, 256 GiB', line: `check ${FILES.full}`, reads: [] },
  { name: 'compare', line: `compare ${FILES.raw} ${FILES.qcow2}`, reads: [FILES.raw, FILES.qcow2] },
  {
    name: 'random 4k read',
    line: `bench -c ${READ_REQUESTS} -d 64 -S ${STEP_BYTES} -f qcow2 ${FILES.overlay}`,
    reads: [FILES.qcow2],
    timesItself: true,
  },
  {
    name: 'random 4k write',
    before: `create -q -f qcow2 -b ${FILES.qcow2} -F qcow2 out`,
    line: `bench -w -c ${WRITE_REQUESTS} -d 64 -S ${STEP_BYTES} -f qcow2 out`,
    reads: [FILES.qcow2],
    timesItself: true,
  },
  { name: 'first cluster, small', line: `dd -O raw if=${FILES.qcow2} of=out bs=64k count=1`, reads: [] },
  { name: 'first cluster, 1 TiB', line: `dd -O raw if=${FILES.large} of=out bs=64k count=1`, reads: [] },
];

function qcow2Output() {
  return { file: 'out', format: 'qcow2' };
}

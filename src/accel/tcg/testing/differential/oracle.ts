/** The native runner as a client sees it: built on demand, one process, batches in, outcomes out. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Feature } from '../../../../target/index.ts';
import { dataSize, decodeOutcomes, encodeBatch, type NativeCase, type Outcome } from './record.ts';

export interface Oracle {
  /** CPU features of the host, of those that gate rows. */
  readonly features: ReadonlySet<Feature>;
  /** CPUID's vendor string, e.g. `AuthenticAMD`. */
  readonly vendor: string;
  /** Runs the cases, at most `maxBatch`, one call at a time. */
  run(cases: readonly NativeCase[]): Promise<Outcome[]>;
  close(): void;
}

export const maxBatch = 500;

/** Starts the oracle, or says in one line why this host has none. */
export async function startOracle(background: Uint8Array): Promise<Oracle | string> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `the oracle is the host's CPU, and this host is ${process.platform} on ${process.arch}`;
  const program = buildRunner();
  if ('reason' in program) return program.reason;
  return connect(program.path, background);
}

const compilers = ['gcc', 'clang', 'cc'];
const flags = ['-O2', '-Wall', '-Wextra', '-Werror', '-fno-stack-protector', '-mno-red-zone', '-mno-avx', '-Wl,-z,now'];

/** Compiles runner.c, unless this very source has been compiled before. */
function buildRunner(): { path: string } | { reason: string } {
  const source = fileURLToPath(new URL('runner.c', import.meta.url));
  const digest = createHash('sha256').update(readFileSync(source)).update(flags.join()).digest('hex').slice(0, 16);
  const folder = join(tmpdir(), `vireo-differential-${process.getuid?.() ?? 0}`);
  const path = join(folder, `runner-${digest}`);
  if (existsSync(path)) return { path };
  const compiler = compilers.find((name) => spawnSync(name, ['--version']).status === 0);
  if (!compiler) return { reason: 'no C compiler: install gcc to have instructions compared with this CPU' };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  const built = spawnSync(compiler, [...flags, '-o', draft, source], { encoding: 'utf8' });
  if (built.status !== 0)
    return { reason: `${compiler} can not build the native runner: ${built.stderr.split('\n')[0]}` };
  renameSync(draft, path);
  return { path };
}

const helloSize = 48;

async function connect(path: string, background: Uint8Array): Promise<Oracle | string> {
  const child = spawn(path, { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (data) => {
    complaint += data;
  });
  child.stdin.on('error', () => undefined); // the death of the process is noticed at its output
  const read = reader(child.stdout);
  const hello = await read(helloSize);
  if (!hello) return `the native runner does not run here: ${complaint.trim() || 'it ended at once'}`;
  const view = new DataView(hello.buffer, hello.byteOffset, hello.length);
  if (background.length !== dataSize) throw new Error('background of the wrong size');
  child.stdin.write(background);
  return {
    features: hostFeatures(view),
    vendor: new TextDecoder().decode(hello.subarray(36, 48)),
    async run(cases) {
      child.stdin.write(encodeBatch(cases));
      const header = await read(8);
      const length = header && new DataView(header.buffer, header.byteOffset).getUint32(4, true);
      const body = length === undefined ? undefined : await read(length);
      if (!body) throw new Error(`the native runner died: ${complaint.trim()}`);
      return decodeOutcomes(body, cases.length);
    },
    close() {
      child.stdin.end();
    },
  };
}

/** A function that gives exactly so many bytes of a stream, or undefined when it ends before. */
function reader(stream: NodeJS.ReadableStream): (length: number) => Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let available = 0;
  let ended = false;
  let wake = () => {};
  stream.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    available += chunk.length;
    wake();
  });
  stream.on('end', () => {
    ended = true;
    wake();
  });
  return async (length) => {
    while (available < length) {
      if (ended) return undefined;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const all = Buffer.concat(chunks);
    chunks.length = 0;
    chunks.push(all.subarray(length));
    available = all.length - length;
    return new Uint8Array(all.subarray(0, length)); // a copy that owns its buffer
  };
}

/** Register (offset in the greeting) and bit of each feature (SDM vol. 2, CPUID; AMD APM vol. 3, appendix E). */
const featureBits: Partial<Record<Feature, readonly [offset: number, bit: number]>> = {
  sse3: [4, 0],
  pclmulqdq: [4, 1],
  ssse3: [4, 9],
  fma: [4, 12],
  cx16: [4, 13],
  sse4_1: [4, 19],
  sse4_2: [4, 20],
  movbe: [4, 22],
  popcnt: [4, 23],
  aes: [4, 25],
  xsave: [4, 27],
  avx: [4, 28],
  f16c: [4, 29],
  rdrand: [4, 30],
  fpu: [8, 0],
  tsc: [8, 4],
  msr: [8, 5],
  cx8: [8, 8],
  sep: [8, 11],
  cmov: [8, 15],
  clflush: [8, 19],
  mmx: [8, 23],
  fxsr: [8, 24],
  sse: [8, 25],
  sse2: [8, 26],
  fsgsbase: [12, 0],
  bmi1: [12, 3],
  avx2: [12, 5],
  bmi2: [12, 8],
  erms: [12, 9],
  invpcid: [12, 10],
  rdseed: [12, 18],
  adx: [12, 19],
  smap: [12, 20],
  clflushopt: [12, 23],
  clwb: [12, 24],
  sha_ni: [12, 29],
  vaes: [16, 9],
  vpclmulqdq: [16, 10],
  rdpid: [16, 22],
  lahf_lm: [20, 0],
  lzcnt: [20, 5],
  sse4a: [20, 6],
  prefetchw: [20, 8],
  syscall: [24, 11],
  rdtscp: [24, 27],
  lm: [24, 29],
  xsaveopt: [28, 0],
  xsavec: [28, 1],
  xsaves: [28, 3],
};
/** Rows of these need the operating system to have switched the extended state on. */
const needAvx: readonly Feature[] = ['avx', 'avx2', 'fma', 'f16c', 'vaes', 'vpclmulqdq'];

function hostFeatures(hello: DataView): Set<Feature> {
  const avx = (hello.getUint32(32, true) & 6) === 6;
  const found = Object.entries(featureBits).filter(([, [offset, bit]]) => (hello.getUint32(offset, true) >>> bit) & 1);
  return new Set(found.map(([name]) => name as Feature).filter((name) => avx || !needAvx.includes(name)));
}

/** What is measured, in groups with the ratios that are aimed at. */

/** A guest kernel: a name in guest/*.c and its size there. */
export interface Kernel {
  readonly name: string;
  /** Chosen for some 0.1 to 0.4 s under QEMU; `--scale` multiplies it. */
  readonly size: number;
  /** Needs instructions that no 32-bit CPU of the comparison has. */
  readonly only64?: boolean;
}

export interface Group {
  readonly name: string;
  readonly kernels: readonly Kernel[];
  /** Least geometric mean of the ratios, QEMU's time over Vireo's. */
  readonly target: number;
  /** Least ratio of each kernel. */
  readonly eachTarget?: number;
}

export const GROUPS: readonly Group[] = [
  {
    name: 'integer',
    target: 1.5,
    eachTarget: 0.8,
    kernels: [
      { name: 'sieve', size: 4_000_000 },
      { name: 'sha256', size: 3072 },
      { name: 'qsort', size: 200_000 },
      { name: 'chase', size: 4_000_000 },
      { name: 'indirect', size: 4_000_000 },
      { name: 'calls', size: 1000 },
      { name: 'bytecode', size: 15_000 },
      { name: 'gzip', size: 1024 },
      { name: 'awk', size: 256 },
      { name: 'perl', size: 512 },
    ],
  },
  {
    name: 'float',
    target: 5,
    kernels: [
      { name: 'matmul', size: 40 },
      { name: 'nbody', size: 100_000 },
      { name: 'fft', size: 150 },
      { name: 'mandelbrot-sse2', size: 1024 },
      { name: 'mandelbrot-avx2', size: 1024, only64: true },
    ],
  },
  {
    name: 'x87',
    target: 1,
    kernels: [
      { name: 'x87-arithmetic', size: 500_000 },
      { name: 'x87-math', size: 100_000 },
    ],
  },
  {
    name: 'strings',
    target: 1,
    kernels: [
      { name: 'memcpy', size: 512 },
      { name: 'memset', size: 512 },
      { name: 'search', size: 1000 },
      { name: 'rep', size: 500 },
    ],
  },
  {
    name: 'system',
    target: 1,
    eachTarget: 0.6,
    kernels: [
      { name: 'syscalls', size: 300_000 },
      { name: 'pipe', size: 5000 },
      { name: 'fork-exec', size: 100 },
      { name: 'faults', size: 16_384 },
      { name: 'signals', size: 10_000 },
      { name: 'timers', size: 3000 },
    ],
  },
];

/** What the geometric mean of v86's times over Vireo's is to be in each group. */
export const V86_TARGET = 3;

/** Start of the process to the kernel's first program, and to the end of the process after that powers off. */
export const BOOT = { name: 'boot', rows: ['to init', 'whole process'], target: 1 } as const;
/** Of one host CPU, while the guest sleeps. */
export const IDLE = { name: 'idle', row: 'host CPU', targetPercent: 2 } as const;
/** Resident size of the process less the guest's RAM, when the guest has touched all of it, at the end of the run. */
export const FOOTPRINT = { name: 'footprint', row: 'over guest RAM', targetMebibytes: 250 } as const;

/** What one run measures. */
export interface Selection {
  readonly boot: boolean;
  readonly idle: boolean;
  readonly footprint: boolean;
  readonly kernels: readonly Kernel[];
}

/** Everything that has a name of its own, as `select` takes it. */
export function allNames(): string[] {
  const groups = GROUPS.flatMap(({ name, kernels }) => [name, ...kernels.map((kernel) => kernel.name)]);
  return [BOOT.name, ...new Set(groups), IDLE.name, FOOTPRINT.name];
}

/**
 * The kernels and measurements of these names, of groups or single ones; all when undefined.
 * @param scale multiplies the kernels' sizes
 */
export function select(names: readonly string[] | undefined, scale: number): Selection {
  const has = (name: string) => names === undefined || names.includes(name);
  const kernels = GROUPS.flatMap((group) => group.kernels.filter(({ name }) => has(group.name) || has(name)));
  return {
    boot: has(BOOT.name),
    idle: has(IDLE.name),
    footprint: has(FOOTPRINT.name),
    kernels: kernels.map((kernel) => ({ ...kernel, size: Math.max(1, Math.round(kernel.size * scale)) })),
  };
}

/** Options about who executes the guest's code, and how the host keeps its memory. */
import { ACCELERATOR_CHOICES, type AcceleratorChoice, CPUS_MAX, type MachineOptions } from '../machine/index.ts';
import { suggestion, UsageError } from './options.ts';

/** As a table of options, and what they say of a machine. */
export const ACCEL_OPTIONS = {
  accel: {
    value: 'NAME',
    repeats: true,
    help: 'kvm, tcg (the software CPU) or auto (default); of several, the first that works',
  },
  'kernel-irqchip': {
    value: 'on|split|off',
    help: "interrupt controllers in the host's kernel under KVM (default on; split: local APICs; off: none, one CPU)",
  },
  smp: { value: 'N', help: "the guest's CPUs (default 1)" },
  'mem-path': {
    value: 'memfd|hugepages',
    help: "what the guest's memory is made of under KVM (default anonymous memory)",
  },
  'mem-merge': { value: 'on|off', help: 'let the host share equal pages of guests under KVM (default off)' },
  'mem-huge': {
    value: 'on|off',
    help: "transparent huge pages for the guest's memory under KVM (default: the host's)",
  },
  'mem-prealloc': { help: "take all of the guest's memory at the start under KVM" },
  'mem-lock': { help: "keep the guest's memory from being swapped out under KVM" },
} as const;

export interface AccelValues {
  readonly accel?: readonly string[];
  readonly smp?: string;
  readonly 'kernel-irqchip'?: string;
  readonly 'mem-path'?: string;
  readonly 'mem-merge'?: string;
  readonly 'mem-huge'?: string;
  readonly 'mem-prealloc'?: true;
  readonly 'mem-lock'?: true;
}

/** Throws UsageError that names the option. */
export function accelOptions(values: AccelValues): Pick<MachineOptions, 'accel' | 'cpus' | 'ram' | 'kernelIrqchip'> {
  const ram = {
    backing: values['mem-path'] === undefined ? undefined : oneOf('mem-path', values['mem-path'], BACKINGS),
    merge: onOff('mem-merge', values['mem-merge']),
    transparentHugepages: onOff('mem-huge', values['mem-huge']),
    preallocate: values['mem-prealloc'],
    lock: values['mem-lock'],
  };
  const irqchip = values['kernel-irqchip'];
  return {
    accel: choicesOf(values.accel),
    cpus: values.smp === undefined ? undefined : cpusOf(values.smp),
    kernelIrqchip: irqchip === undefined ? undefined : oneOf('kernel-irqchip', irqchip, ['on', 'split', 'off']),
    ram,
  };
}

const BACKINGS = ['memfd', 'hugepages'] as const;

/** `--accel kvm --accel tcg`, or `--accel kvm:tcg` as QEMU's -machine takes it. */
function choicesOf(given: readonly string[] | undefined): AcceleratorChoice[] | undefined {
  return given?.flatMap((list) => list.split(':')).map((name) => oneOf('accel', name, ACCELERATOR_CHOICES));
}

function cpusOf(text: string): number {
  const count = Number(text);
  if (/^\d{1,4}$/.test(text) && count >= 1 && count <= CPUS_MAX) return count;
  throw new UsageError(`--smp ${text}: a machine has from 1 to ${CPUS_MAX} CPUs`);
}

function onOff(option: string, text: string | undefined): boolean | undefined {
  return text === undefined ? undefined : oneOf(option, text, ['on', 'off']) === 'on';
}

function oneOf<const Word extends string>(option: string, text: string, words: readonly Word[]): Word {
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw new UsageError(`--${option} ${text} is not one of ${words.join(', ')}${suggestion(text, words)}`);
}

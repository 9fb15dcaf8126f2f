/** Who executes a machine's guest code: the first of what was asked for that can be had here. */
import { createKvm, createTcg, type KvmHost, KvmUnavailable, openKvm, unfitForGuests } from '../accel/index.ts';
import { UserError } from '../base/index.ts';
import { nodeKvmHost, nodeThreads } from '../host/node/index.ts';
import type { Accelerator, AcceleratorChoice, CreateAccelerator } from '../machine/index.ts';
import { MEMORY_MAX_BYTES } from '../machine/index.ts';
import { prepareToCompile } from './compile-module.ts';

/** What translates guest code; beside this file, in the sources and when built. */
const COMPILE_THREAD = import.meta.url.endsWith('.ts') ? './compile-thread.ts' : './compile-thread.js';

type Options = Parameters<CreateAccelerator>[0];

/** Throws UserError when none can be had, and when the one that is had cannot do what was asked for. */
export const createAccelerator: CreateAccelerator = (options) => chooseAccelerator(options, nodeKvmHost);

/** @param openHost throws UserError where KVM cannot be called at all */
export async function chooseAccelerator(options: Options, openHost: () => KvmHost): Promise<Accelerator> {
  const wanted = (options.accel ?? ['auto']).flatMap((choice): AcceleratorChoice[] =>
    choice === 'auto' ? ['auto', 'tcg'] : [choice],
  );
  const complaints: string[] = [];
  for (const choice of wanted) {
    if (choice === 'tcg') return { ...(await createSoftwareCpu(options, complaints)), name: 'tcg' };
    // Where there is a choice, KVM must be able to run whole guests.
    const kvm = tryKvm(options, openHost, wanted.length > 1);
    if (typeof kvm !== 'string') return kvm;
    complaints.push(kvm);
  }
  throw new UserError(complaints.join('; '));
}

/** @returns why there is no KVM here. Throws UserError when what was asked for does not exist under KVM. */
function tryKvm(options: Options, openHost: () => KvmHost, hasChoice: boolean): Accelerator | string {
  const { monotonicNanos = () => performance.now() * 1e6 } = options;
  const host = hostOrComplaint(openHost);
  if (typeof host === 'string') return host;
  try {
    const unfit = hasChoice ? unfitForGuests(host) : undefined;
    return unfit ?? { ...createKvm(host, { ...options, monotonicNanos }), name: 'kvm' };
  } catch (error) {
    if (error instanceof KvmUnavailable) return error.message;
    throw error;
  }
}

function hostOrComplaint(openHost: () => KvmHost): KvmHost | string {
  try {
    return openHost();
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

/** Undefined when KVM can be had here; with `auto` it must also be able to run whole guests. */
export function whyNotKvm(choice: AcceleratorChoice, openHost: () => KvmHost = nodeKvmHost): string | undefined {
  const host = hostOrComplaint(openHost);
  if (typeof host === 'string') return host;
  try {
    openKvm(host).close();
    return choice === 'auto' ? unfitForGuests(host) : undefined;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

/** @param complaints why it is not another one */
async function createSoftwareCpu(options: Options, complaints: readonly string[]): Promise<Accelerator> {
  const because = complaints.length === 0 ? '' : ` (${complaints.join('; ')})`;
  const { ramRanges } = options;
  const bytes = ramRanges.reduce((sum, { size }) => sum + size, 0);
  if (bytes > MEMORY_MAX_BYTES) {
    const most = MEMORY_MAX_BYTES / 1024 ** 2;
    throw new UserError(`with the software CPU (tcg) a guest has at most ${most} MiB of memory${because}`);
  }
  const startCompiler = () => nodeThreads.startThread(new URL(COMPILE_THREAD, import.meta.url).href);
  prepareToCompile();
  const accelerator = await createTcg({ ...options, startCompiler });
  return because === '' ? accelerator : { ...accelerator, note: `the software CPU (tcg) runs this guest${because}` };
}

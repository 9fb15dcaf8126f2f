/** Who executes a machine's guest code: the first of what was asked for that can be had here. */
import type { KvmHost } from '../accel/kvm/index.ts';
import { createTcg } from '../accel/tcg/index.ts';
import { UserError } from '../base/index.ts';
import { nodeThreads } from '../host/node/machine.ts';
import type { Accelerator, AcceleratorChoice, CreateAccelerator } from '../machine/index.ts';
import { MEMORY_MAX_BYTES } from '../machine/index.ts';
import { prepareToCompile } from './compile-module.ts';
import { threadInNeed } from './thread-in-need.ts';

/** What translates guest code; beside this file, in the sources and when built. */
const COMPILE_THREAD = import.meta.url.endsWith('.ts') ? './compile-thread.ts' : './compile-thread.js';

/** Throws UserError where KVM cannot be called at all. */
type OpenHost = () => KvmHost | Promise<KvmHost>;
const nodeKvm: OpenHost = async () => (await import('../host/node/kvm-host.ts')).nodeKvmHost();
/** Loaded where it is tried: most of it is of no use to the software CPU. */
const kvmRoom = () => import('../accel/kvm/index.ts');

type Options = Parameters<CreateAccelerator>[0];

/** Throws UserError when none can be had, and when the one that is had cannot do what was asked for. */
export const createAccelerator: CreateAccelerator = (options) => chooseAccelerator(options, nodeKvm);

export async function chooseAccelerator(options: Options, openHost: OpenHost): Promise<Accelerator> {
  const wanted = (options.accel ?? ['auto']).flatMap((choice): AcceleratorChoice[] =>
    choice === 'auto' ? ['auto', 'tcg'] : [choice],
  );
  const complaints: string[] = [];
  for (const choice of wanted) {
    if (choice === 'tcg') return { ...(await createSoftwareCpu(options, complaints)), name: 'tcg' };
    // Where there is a choice, KVM must be able to run whole guests.
    const kvm = await tryKvm(options, openHost, wanted.length > 1);
    if (typeof kvm !== 'string') return kvm;
    complaints.push(kvm);
  }
  throw new UserError(complaints.join('; '));
}

/** @returns why there is no KVM here. Throws UserError when what was asked for does not exist under KVM. */
async function tryKvm(options: Options, openHost: OpenHost, hasChoice: boolean): Promise<Accelerator | string> {
  const { createKvm, KvmUnavailable, unfitForGuests } = await kvmRoom();
  const { monotonicNanos = () => performance.now() * 1e6 } = options;
  const host = await hostOrComplaint(openHost);
  if (typeof host === 'string') return host;
  try {
    const unfit = hasChoice ? unfitForGuests(host) : undefined;
    return unfit ?? { ...createKvm(host, { ...options, monotonicNanos }), name: 'kvm' };
  } catch (error) {
    if (error instanceof KvmUnavailable) return error.message;
    throw error;
  }
}

async function hostOrComplaint(openHost: OpenHost): Promise<KvmHost | string> {
  try {
    return await openHost();
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

/** Undefined when KVM can be had here; with `auto` it must also be able to run whole guests. */
export async function whyNotKvm(choice: AcceleratorChoice, openHost: OpenHost = nodeKvm): Promise<string | undefined> {
  const { openKvm, unfitForGuests } = await kvmRoom();
  const host = await hostOrComplaint(openHost);
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
  const startThread = () => nodeThreads.startThread(new URL(COMPILE_THREAD, import.meta.url).href);
  const startCompiler = options.isIncoming ? () => threadInNeed(startThread) : startThread;
  prepareToCompile();
  const accelerator = await createTcg({ ...options, startCompiler });
  return because === '' ? accelerator : { ...accelerator, note: `the software CPU (tcg) runs this guest${because}` };
}

/** Why KVM_RUN came back: the run page as a value, and as a line for people. */
import { viewOf } from './struct.ts';
import * as s from './structures.ts';

/** Numbers of the exits (linux/kvm.h). */
export const EXIT = {
  unknown: 0,
  exception: 1,
  io: 2,
  hypercall: 3,
  debug: 4,
  hlt: 5,
  mmio: 6,
  irqWindowOpen: 7,
  shutdown: 8,
  failEntry: 9,
  intr: 10,
  setTpr: 11,
  nmi: 16,
  internalError: 17,
  systemEvent: 24,
  ioapicEoi: 26,
  rdmsr: 29,
  wrmsr: 30,
  dirtyRingFull: 31,
  busLock: 33,
  notify: 37,
} as const;

/** Exits that are about more than a device access. Those are read in place: see `vcpu-machine.ts`. */
export type KvmExit = { readonly kind: keyof typeof EXIT } | { readonly kind: 'failure'; readonly message: string };

const NAMES = new Map<number, keyof typeof EXIT>(
  Object.entries(EXIT).map(([name, number]) => [number, name as keyof typeof EXIT]),
);

export function exitName(reason: number): keyof typeof EXIT | undefined {
  return NAMES.get(reason);
}

const SUBERRORS = [
  '',
  'an instruction cannot be emulated',
  'two events at once',
  'an event could not be delivered',
  'an exit that KVM does not know',
];
const EMULATION = 1;
const HAS_BYTES = 1n;

/** Bytes of the instruction that KVM gave up at, when it says them. */
export function failedInstruction(run: Uint8Array): Uint8Array | undefined {
  const view = viewOf(run);
  const found = s.exitEmulation.read(view, s.RUN_DATA);
  if (found.suberror !== EMULATION || found.ndata < 1 || (found.flags & HAS_BYTES) === 0n) return undefined;
  return found.bytes.subarray(0, found.size);
}

/**
 * One line about an exit after which the guest cannot go on.
 * @param isPvm what the host's KVM cannot do is then part of the line
 */
export function describeExit(run: Uint8Array, isPvm = false): string {
  const view = viewOf(run);
  const reason = view.getUint32(s.runHead.offsets.exitReason, true);
  switch (reason) {
    case EXIT.internalError: {
      const { suberror, ndata, data } = s.exitInternal.read(view, s.RUN_DATA);
      const what = SUBERRORS[suberror] ?? `error ${suberror}`;
      const bytes = failedInstruction(run);
      if (bytes !== undefined) return `KVM gave up: ${what}: ${hexBytes(bytes)}${isPvm ? PVM_HINT : ''}`;
      const words = data.slice(0, Math.min(ndata, data.length)).map((word) => word.toString(16));
      return `KVM gave up: ${what}${words.length > 0 ? ` (${words.join(' ')})` : ''}${isPvm ? PVM_HINT : ''}`;
    }
    case EXIT.failEntry: {
      const { reason: why, cpu } = s.exitFailEntry.read(view, s.RUN_DATA);
      return `the processor refuses the guest's state (reason 0x${why.toString(16)} on host CPU ${cpu})`;
    }
    case EXIT.unknown:
      return `KVM came back for a reason that it does not know (0x${view.getBigUint64(s.RUN_DATA, true).toString(16)})`;
    case EXIT.exception: {
      const { exception, errorCode } = s.exitException.read(view, s.RUN_DATA);
      return `KVM stopped at exception ${exception}, error code 0x${errorCode.toString(16)}`;
    }
    case EXIT.systemEvent: {
      const { type } = s.exitSystemEvent.read(view, s.RUN_DATA);
      return `the guest asked for system event ${type}`;
    }
    default:
      return `KVM came back with ${exitName(reason) ?? `exit ${reason}`}, which this machine does not use`;
  }
}

const PVM_HINT = '; this host has no hardware virtualization for KVM (PVM), which cannot run this: use --accel tcg';

function hexBytes(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

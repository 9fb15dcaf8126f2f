/** The calls of the C library that /dev/kvm takes, by node:ffi (docs/adr). Results are as the kernel gives them: -errno for an error. */
import { UserError } from '../../base/index.ts';
import { loadFfi } from './ffi.ts';

type Call = (...args: (number | bigint | Uint8Array)[]) => number;

export interface KvmLibc {
  readonly ioctl: Call;
  /** Its third argument is a Uint8Array. */
  readonly ioctlStruct: Call;
  readonly open: (path: string, flags: number) => number;
  readonly close: Call;
  readonly read: Call;
  readonly write: Call;
  readonly eventfd: Call;
  readonly epollCreate: Call;
  /** Its fourth argument is a Uint8Array. */
  readonly epollControl: Call;
  readonly epollWait: Call;
  readonly memfdCreate: (name: string, flags: number) => number;
  readonly ftruncate: Call;
  readonly madvise: Call;
  readonly mlock: Call;
  /** The address, or -errno. */
  readonly mmap: (address: bigint, length: number, prot: number, flags: number, fd: number, offset: number) => bigint;
  readonly munmap: Call;
  readonly threadKill: (processId: number, threadId: number, signal: number) => number;
  readonly setSignalMask: Call;
  /** The calls of POSIX threads return an error number. */
  readonly threadAttributes: Call;
  readonly threadStackSize: Call;
  readonly threadCreate: (thread: Uint8Array, attributes: Uint8Array, code: bigint, argument: bigint) => number;
  readonly threadName: (thread: bigint, name: string) => number;
  readonly threadJoin: (thread: bigint) => number;
  /** Wakes a thread that sleeps at this address. */
  readonly futexWake: (address: bigint) => number;
  /**
   * `code(argument)` is called when this thread's environment ends, before its memory goes.
   * @returns how to forget that
   */
  onEnvironmentEnd(code: bigint, argument: bigint): () => void;
  addressOf(bytes: ArrayBufferView | ArrayBufferLike): bigint;
  /** The epoll descriptor of this thread's event loop. */
  readonly eventLoopFd: number;
  /** Milliseconds until the event loop has a timer: 0 when it has something to do now, -1 when it has none. */
  eventLoopTimeout(): number;
}

interface FullFfi {
  dlopen(
    path: string | null,
    definitions: Record<string, { arguments: string[]; return: string }>,
  ): { functions: Record<string, (...args: unknown[]) => number | bigint> };
  getInt32(pointer: bigint, offset?: number): number;
  getRawPointer(source: ArrayBufferView | ArrayBufferLike): bigint;
  getCurrentEventLoop(): bigint;
}

/** Ends KVM_RUN. Above the signals that the C library keeps for itself; nobody handles it. */
export const KICK_SIGNAL = 44;

const SYS_FUTEX = 202;
const SYS_TGKILL = 234;
const FUTEX_WAKE_PRIVATE = 129;

const [i, u, l, p, b, s] = ['int32', 'uint32', 'int64', 'pointer', 'buffer', 'string'];

/** Name here → C name, result, arguments. Sizes and offsets are int64, requests and numbers uint32. */
const CALLS = {
  ioctl: ['ioctl', i, i, u, u],
  ioctlStruct: ['ioctl', i, i, u, b],
  open: ['open', i, s, i],
  close: ['close', i, i],
  read: ['read', l, i, b, l],
  write: ['write', l, i, b, l],
  eventfd: ['eventfd', i, u, i],
  epollCreate: ['epoll_create1', i, i],
  epollControl: ['epoll_ctl', i, i, i, i, b],
  epollWait: ['epoll_pwait2', i, i, b, i, b, p],
  memfdCreate: ['memfd_create', i, s, u],
  ftruncate: ['ftruncate', i, i, l],
  madvise: ['madvise', i, p, l, i],
  mlock: ['mlock', i, p, l],
  mmap: ['mmap', p, p, l, i, i, i, l],
  munmap: ['munmap', i, p, l],
  futex: ['syscall', l, l, p, l, l],
  tgkill: ['syscall', l, l, l, l, l],
  setSignalMask: ['pthread_sigmask', i, i, b, b],
  threadAttributes: ['pthread_attr_init', i, b],
  threadStackSize: ['pthread_attr_setstacksize', i, b, l],
  threadCreate: ['pthread_create', i, b, b, p, p],
  threadName: ['pthread_setname_np', i, p, s],
  threadJoin: ['pthread_join', i, p, p],
  uvFd: ['uv_backend_fd', i, p],
  uvTimeout: ['uv_backend_timeout', i, p],
  // node.h and v8-isolate.h, for addons: AddEnvironmentCleanupHook, RemoveEnvironmentCleanupHook, Isolate::GetCurrent.
  addHook: ['_ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_', 'void', p, p, p],
  removeHook: ['_ZN4node28RemoveEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_', 'void', p, p, p],
  isolate: ['_ZN2v87Isolate10GetCurrentEv', p],
} as const satisfies Record<string, readonly string[]>;

/** Throws UserError where this Node or system cannot call it. */
export function kvmLibc(): KvmLibc {
  const ffi = process.platform === 'linux' ? (loadFfi() as unknown as FullFfi | undefined) : undefined;
  if (ffi === undefined) throw new UserError('KVM needs Linux and a Node with node:ffi');
  const errnoAt = ffi
    .dlopen(null, { __errno_location: { arguments: [], return: p } })
    .functions.__errno_location() as bigint;
  const raw = Object.fromEntries(
    Object.entries(CALLS).map(([name, [symbol, result, ...args]]) => {
      // Each its own handle: one symbol may have several signatures.
      const { functions } = ffi.dlopen(null, { [symbol]: { arguments: [...args], return: result } });
      return [name, functions[symbol]];
    }),
  ) as Record<keyof typeof CALLS, (...args: unknown[]) => number | bigint>;
  /** Small results as numbers; -1 becomes the negative error number. */
  const call = (name: keyof typeof CALLS) => {
    const native = raw[name];
    return (...args: unknown[]): number => {
      const result = native(...args);
      return result === -1 || result === -1n ? -ffi.getInt32(errnoAt) : Number(result);
    };
  };
  const wide = (...args: number[]) => args.map(BigInt);
  const [read, write, ftruncate, madvise, mlock, munmap] = (
    ['read', 'write', 'ftruncate', 'madvise', 'mlock', 'munmap'] as const
  ).map(call);
  const [futex, tgkill] = [call('futex'), call('tgkill')];
  const [threadStackSize, threadJoin] = [call('threadStackSize'), call('threadJoin')];
  const loop = ffi.getCurrentEventLoop();
  return {
    ioctl: call('ioctl'),
    ioctlStruct: call('ioctlStruct'),
    open: call('open'),
    close: call('close'),
    read: (fd, target, length) => read(fd, target, BigInt(length as number)),
    write: (fd, source, length) => write(fd, source, BigInt(length as number)),
    eventfd: call('eventfd'),
    epollCreate: call('epollCreate'),
    epollControl: call('epollControl'),
    epollWait: call('epollWait'),
    memfdCreate: call('memfdCreate'),
    ftruncate: (fd, length) => ftruncate(fd, BigInt(length as number)),
    madvise: (address, length, advice) => madvise(address, BigInt(length as number), advice),
    mlock: (address, length) => mlock(address, BigInt(length as number)),
    mmap(address, length, prot, flags, fd, offset) {
      const result = raw.mmap(address, BigInt(length), prot, flags, fd, BigInt(offset)) as bigint;
      return BigInt.asIntN(64, result) === -1n ? -BigInt(ffi.getInt32(errnoAt)) : result;
    },
    munmap: (address, length) => munmap(address, BigInt(length as number)),
    threadKill: (processId, threadId, signal) => tgkill(...wide(SYS_TGKILL, processId, threadId, signal)),
    setSignalMask: call('setSignalMask'),
    threadAttributes: call('threadAttributes'),
    threadStackSize: (attributes, size) => threadStackSize(attributes, BigInt(size as number)),
    threadCreate: call('threadCreate'),
    threadName: call('threadName'),
    threadJoin: (thread) => threadJoin(thread, 0n),
    futexWake: (address) => futex(BigInt(SYS_FUTEX), address, BigInt(FUTEX_WAKE_PRIVATE), 1n),
    onEnvironmentEnd(code, argument) {
      const isolate = raw.isolate();
      raw.addHook(isolate, code, argument);
      return () => void raw.removeHook(isolate, code, argument);
    },
    addressOf: (bytes) => ffi.getRawPointer(bytes),
    eventLoopFd: call('uvFd')(loop),
    eventLoopTimeout: () => raw.uvTimeout(loop) as number,
  };
}

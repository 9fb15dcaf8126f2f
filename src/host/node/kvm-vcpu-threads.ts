/**
 * The threads that run vCPUs: native ones, of the C library, which take turns with this thread through words in shared
 * memory. Memory that they use is a memfd's, mapped for them where the garbage collector does not reach; when this
 * thread's environment ends, however it does, they are fetched out of the guest before its memory goes.
 */
import { UserError } from '../../base/index.ts';
import { KICK_SIGNAL, type KvmLibc } from './kvm-libc.ts';
import { allocateShared, PROT_READ_WRITE } from './kvm-memory.ts';
import { fetchAllCode, type ThreadLayout, vcpuThreadCode } from './kvm-thread-code.ts';

const PAGE = 4096;
const PROT_READ_EXEC = 5;
const MAP_SHARED = 1;
const MAP_SHARED_FIXED = 0x11;
const MFD_CLOEXEC = 1;
const SIG_SETMASK = 2;
const SIGNAL_SET_BYTES = 128;
/** The kernel's own set of 64 signals. */
const KERNEL_SET_BYTES = 8;
/** The least that glibc takes with room for its own; the code needs some words. */
const STACK_BYTES = 64 * 1024;
const ATTRIBUTES_BYTES = 64;
const KICK_BIT = 1n << BigInt(KICK_SIGNAL - 1);
const FETCH_AT = PAGE / 2;

/** As accel/kvm/mailbox.ts describes it. */
export interface ThreadsData {
  readonly layout: ThreadLayout;
  readonly vcpuFds: readonly number[];
  readonly doorbellFd: number;
  readonly requests: { readonly run: number; readonly setSignalMask: number };
}

/** Throws UserError when the host has no room for them. */
export function startVcpuThreads(libc: KvmLibc, data: ThreadsData) {
  const { layout, vcpuFds } = data;
  const wordsBytes = wholePages((vcpuFds.length + 1) * layout.lineBytes);
  const { words, head, code, unmap } = mapThreadMemory(libc, wordsBytes, [
    [0, vcpuThreadCode(layout, data.requests.run)],
    [FETCH_AT, fetchAllCode(layout, KICK_SIGNAL)],
  ]);
  const lineOf = (index: number) => head + BigInt((index + 1) * layout.lineBytes);
  const runPages = vcpuFds.map((fd) => mapped(libc, 0n, PAGE, PROT_READ_WRITE, MAP_SHARED, fd, 0));
  fillLines(words, data, head, runPages);
  for (const fd of vcpuFds) maskSignals(libc, fd, data.requests.setSignalMask);
  const removeHook = libc.onEnvironmentEnd(code + BigInt(FETCH_AT), head);
  const threads: bigint[] = [];
  const group = {
    words,
    wake: (index: number) => void libc.futexWake(lineOf(index) + BigInt(layout.turn)),
    /** Returns when all have ended, after their turns are `end`. */
    join() {
      for (const thread of threads.splice(0)) libc.threadJoin(thread);
      removeHook();
      for (const address of runPages.splice(0)) libc.munmap(address, PAGE);
      unmap();
    },
  };
  for (const index of vcpuFds.keys()) {
    const thread = startThread(libc, code, lineOf(index), `vireo CPU ${index}`);
    if (typeof thread === 'bigint') {
      threads.push(thread);
      continue;
    }
    for (const started of threads.keys()) {
      Atomics.store(words, ((started + 1) * layout.lineBytes + layout.turn) / 4, 2);
      group.wake(started);
    }
    group.join();
    throw new UserError(`the host gives no thread for CPU ${index} (error ${thread}): raise ulimit -u`);
  }
  return group;
}

/** A memfd: first a page of code, then the words; `words` is this thread's view of them, `head` their address for others. */
function mapThreadMemory(libc: KvmLibc, wordsBytes: number, code: readonly (readonly [number, Uint8Array])[]) {
  const fd = libc.memfdCreate('vireo-vcpus', MFD_CLOEXEC);
  if (fd < 0) throw new UserError(`the host gives no memory for the threads of CPUs (error ${-fd})`);
  try {
    const page = new Uint8Array(PAGE);
    for (const [at, bytes] of code) page.set(bytes, at);
    libc.write(fd, page, PAGE);
    libc.ftruncate(fd, PAGE + wordsBytes);
    const codeAddress = mapped(libc, 0n, PAGE, PROT_READ_EXEC, MAP_SHARED, fd, 0);
    const head = mapped(libc, 0n, wordsBytes, PROT_READ_WRITE, MAP_SHARED, fd, PAGE);
    const { buffer, address } = allocateShared(libc, wordsBytes);
    mapped(libc, address, wordsBytes, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, PAGE);
    const unmap = () => {
      libc.munmap(codeAddress, PAGE);
      libc.munmap(head, wordsBytes);
    };
    return { words: new Int32Array(buffer, 0, wordsBytes / 4), head, code: codeAddress, unmap };
  } finally {
    libc.close(fd);
  }
}

function mapped(libc: KvmLibc, ...call: Parameters<KvmLibc['mmap']>): bigint {
  const address = libc.mmap(...call);
  if (address < 0n) throw new UserError(`the host gives no memory for the threads of CPUs (error ${-address})`);
  return address;
}

const wholePages = (bytes: number) => Math.ceil(bytes / PAGE) * PAGE;

function fillLines(words: Int32Array, data: ThreadsData, head: bigint, runPages: readonly bigint[]): void {
  const { layout, vcpuFds, doorbellFd } = data;
  const view = new DataView(words.buffer, words.byteOffset, words.byteLength);
  view.setInt32(layout.count, vcpuFds.length, true);
  view.setInt32(layout.processId, process.pid, true);
  for (const [index, fd] of vcpuFds.entries()) {
    const line = (index + 1) * layout.lineBytes;
    view.setInt32(line + layout.vcpuFd, fd, true);
    view.setInt32(line + layout.doorbellFd, doorbellFd, true);
    view.setBigUint64(line + layout.runPage, runPages[index], true);
    view.setBigUint64(line + layout.headAddress, head, true);
    view.setBigUint64(line + layout.kickSet, KICK_BIT, true);
    view.setBigUint64(line + layout.one, 1n, true);
  }
}

/** All signals are blocked in KVM_RUN but the kick, which ends it. */
function maskSignals(libc: KvmLibc, vcpuFd: number, request: number): void {
  const mask = new DataView(new ArrayBuffer(4 + KERNEL_SET_BYTES));
  mask.setUint32(0, KERNEL_SET_BYTES, true);
  mask.setBigUint64(4, BigInt.asUintN(64, ~KICK_BIT), true);
  const answer = libc.ioctlStruct(vcpuFd, request, new Uint8Array(mask.buffer));
  if (answer < 0) throw new UserError(`KVM refuses SET_SIGNAL_MASK (error ${-answer})`);
}

/** A thread that takes no signal at all; its name, or an error number. */
function startThread(libc: KvmLibc, code: bigint, argument: bigint, name: string): bigint | number {
  const all = new Uint8Array(SIGNAL_SET_BYTES).fill(0xff);
  const before = new Uint8Array(SIGNAL_SET_BYTES);
  const attributes = new Uint8Array(ATTRIBUTES_BYTES);
  const thread = new BigUint64Array(1);
  libc.threadAttributes(attributes);
  libc.threadStackSize(attributes, STACK_BYTES);
  libc.setSignalMask(SIG_SETMASK, all, before);
  const error = libc.threadCreate(new Uint8Array(thread.buffer), attributes, code, argument);
  libc.setSignalMask(SIG_SETMASK, before, all);
  if (error !== 0) return error;
  libc.threadName(thread[0], name);
  return thread[0];
}

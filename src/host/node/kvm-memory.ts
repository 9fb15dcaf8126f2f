/**
 * Memory for KVM: shared WebAssembly memories, which all threads see as one
 * SharedArrayBuffer and the garbage collector gives back; other mappings are
 * put over parts of them.
 */
import { UserError } from '../../base/index.ts';
import type { KvmLibc } from './kvm-libc.ts';

export const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED = 0x11;
const MIB = 1024 * 1024;
const WASM_PAGE = 64 * 1024;
const HUGE_PAGE = 2 * MIB;
/** What V8 gives a WebAssembly memory with 32-bit and with 64-bit addresses. */
const WASM32_MAX_BYTES = 4096 * MIB - WASM_PAGE;
const WASM64_MAX_BYTES = 16 * 1024 * MIB;

const MADV = { remove: 9, dontNeed: 4, mergeable: 12, hugepage: 14, noHugepage: 15, populateWrite: 23 } as const;
const MFD = { closeOnExec: 1, hugetlb: 4 } as const;

export interface SharedPages {
  readonly buffer: SharedArrayBuffer;
  readonly offset: number;
  readonly address: bigint;
  readonly sizeBytes: number;
}

export interface RamBacking {
  readonly backing?: 'anonymous' | 'memfd' | 'hugepages';
  readonly merge?: boolean;
  readonly transparentHugepages?: boolean;
  readonly preallocate?: boolean;
  readonly lock?: boolean;
}

export function allocateShared(libc: KvmLibc, sizeBytes: number): SharedPages {
  const buffer = sharedBuffer(sizeBytes);
  return { buffer, offset: 0, address: libc.addressOf(buffer), sizeBytes };
}

export function allocateRam(
  libc: KvmLibc,
  sizeBytes: number,
  { backing = 'anonymous', merge, transparentHugepages, preallocate, lock }: RamBacking,
): SharedPages & { fd: number } {
  const wholeBytes = Math.ceil(sizeBytes / HUGE_PAGE) * HUGE_PAGE;
  const buffer = sharedBuffer(wholeBytes + HUGE_PAGE);
  const start = libc.addressOf(buffer);
  const offset = Number((BigInt(HUGE_PAGE) - (start % BigInt(HUGE_PAGE))) % BigInt(HUGE_PAGE));
  const address = start + BigInt(offset);
  const fd = backing === 'anonymous' ? -1 : mapFile(libc, address, wholeBytes, backing);
  const advise = (advice: number, option: string) => {
    const result = libc.madvise(address, wholeBytes, advice);
    if (result < 0)
      throw new UserError(`the host's kernel refuses ${option} for the guest's memory (error ${-result})`);
  };
  if (merge) advise(MADV.mergeable, 'mem-merge (KSM)');
  if (transparentHugepages !== undefined && backing !== 'hugepages')
    advise(transparentHugepages ? MADV.hugepage : MADV.noHugepage, 'transparent huge pages');
  if (preallocate) populate(libc, address, wholeBytes);
  if (lock) {
    const result = libc.mlock(address, wholeBytes);
    if (result < 0)
      throw new UserError(
        `the guest's memory cannot be locked: ${wholeBytes / MIB} MiB are over the limit; raise it with ulimit -l, or run as root`,
      );
  }
  return { buffer, offset, address, sizeBytes: wholeBytes, fd };
}

/** The host may use these pages for something else; the guest will find zeros there. */
export function giveBack(libc: KvmLibc, address: bigint, length: number, isFile: boolean): number {
  return libc.madvise(address, length, isFile ? MADV.remove : MADV.dontNeed);
}

function sharedBuffer(sizeBytes: number): SharedArrayBuffer {
  const pages = Math.ceil(sizeBytes / WASM_PAGE);
  try {
    if (sizeBytes > WASM64_MAX_BYTES) return new SharedArrayBuffer(sizeBytes);
    const limits =
      sizeBytes <= WASM32_MAX_BYTES
        ? { initial: pages, maximum: pages, shared: true }
        : { address: 'i64', initial: BigInt(pages), maximum: BigInt(pages), shared: true };
    return new WebAssembly.Memory(limits as WebAssembly.MemoryDescriptor).buffer as unknown as SharedArrayBuffer;
  } catch {
    throw new UserError(`the host has no ${Math.ceil(sizeBytes / MIB)} MiB of memory for a guest`);
  }
}

function mapFile(libc: KvmLibc, address: bigint, length: number, backing: 'memfd' | 'hugepages'): number {
  const huge = backing === 'hugepages';
  const fd = libc.memfdCreate('vireo-ram', MFD.closeOnExec | (huge ? MFD.hugetlb : 0));
  if (fd < 0) throw new UserError(`the host's kernel gives no ${backing} memory (error ${-fd})`);
  if (
    libc.ftruncate(fd, length) === 0 &&
    libc.mmap(address, length, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, 0) === address
  )
    return fd;
  libc.close(fd);
  throw new UserError(
    huge
      ? `the host has not enough huge pages for ${length / MIB} MiB: reserve them with sysctl vm.nr_hugepages=${length / HUGE_PAGE}`
      : `the host gives no ${length / MIB} MiB of shared memory`,
  );
}

function populate(libc: KvmLibc, address: bigint, length: number): void {
  const result = libc.madvise(address, length, MADV.populateWrite);
  if (result < 0)
    throw new UserError(
      `the guest's memory of ${length / MIB} MiB cannot be taken at the start: the host has not enough`,
    );
}

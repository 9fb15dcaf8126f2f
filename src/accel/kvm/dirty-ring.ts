/** Pages that one vCPU wrote, as KVM lists them in a ring (Documentation/virt/kvm/api.rst, 8.29). */
import { UserError } from '../../base/index.ts';
import { errnoName, type SharedMemory } from './host.ts';
import { CAP } from './ioctls.ts';
import { viewOf } from './struct.ts';
import { DIRTY_GFN, dirtyGfn } from './structures.ts';
import type { KvmVcpu } from './vcpu.ts';
import type { KvmVm } from './vm.ts';

const PAGE = 4096;
/** KVM_DIRTY_LOG_PAGE_OFFSET: where the ring is in a vCPU's mapping. */
const RING_OFFSET = 64 * PAGE;

export interface DirtyPage {
  readonly slot: number;
  /** Number of the page in its slot. */
  readonly page: number;
}

/**
 * Lets vCPUs that are made from now on list what they write to slots with `logDirtyPages`.
 * @param entries a power of two, 1024 at least
 * @returns false when this KVM has no such rings
 */
export function enableDirtyRings(vm: KvmVm, entries: number): boolean {
  const cap = [CAP.DIRTY_LOG_RING_ACQ_REL, CAP.DIRTY_LOG_RING].find((one) => vm.capability(one) > 0);
  if (cap === undefined) return false;
  vm.enableCapability(cap, entries * dirtyGfn.size);
  return true;
}

export class DirtyRing {
  readonly #vm: KvmVm;
  readonly #memory: SharedMemory;
  readonly #view: DataView;
  readonly #flags: Int32Array;
  readonly #entries: number;
  #next = 0;

  constructor(vm: KvmVm, vcpu: KvmVcpu, entries: number) {
    const size = entries * dirtyGfn.size;
    this.#vm = vm;
    this.#entries = entries;
    this.#memory = vm.host.allocate(size);
    const mapped = vm.host.mapOver(this.#memory, 0, size, vcpu.fd, RING_OFFSET);
    if (mapped < 0) throw new UserError(`KVM does not show the dirty ring of vCPU ${vcpu.id}: ${errnoName(-mapped)}`);
    this.#view = viewOf(new Uint8Array(this.#memory.buffer, this.#memory.offset, size));
    this.#flags = new Int32Array(this.#memory.buffer, this.#memory.offset, size / 4);
  }

  /** Takes what has been listed since the last call; the pages are watched again. */
  take(): DirtyPage[] {
    const pages: DirtyPage[] = [];
    for (; pages.length < this.#entries; this.#next = (this.#next + 1) % this.#entries) {
      const at = this.#next * dirtyGfn.size;
      if ((Atomics.load(this.#flags, at / 4) & DIRTY_GFN.dirty) === 0) break;
      const { slot, offset } = dirtyGfn.read(this.#view, at);
      pages.push({ slot: slot & 0xffff, page: Number(offset) });
      Atomics.store(this.#flags, at / 4, DIRTY_GFN.reset);
    }
    if (pages.length > 0) this.#vm.call('RESET_DIRTY_RINGS', 0);
    return pages;
  }
}

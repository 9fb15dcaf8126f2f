/** One VM of /dev/kvm: memory slots, interrupt controllers, event counters, dirty pages. Calls by their names in the KVM API. */
import { InternalError, UserError } from '../../base/index.ts';
import { ERRNO, errnoName, type KvmHost, type SharedMemory } from './host.ts';
import { CAP, VM } from './ioctls.ts';
import type { CStruct } from './struct.ts';
import { viewOf } from './struct.ts';
import * as s from './structures.ts';
import type { KvmSystem } from './system.ts';
import { KvmVcpu } from './vcpu.ts';

export type Route = { readonly gsi: number } & (
  | { readonly kind: 'irqchip'; readonly chip: number; readonly pin: number }
  | { readonly kind: 'msi'; readonly address: number; readonly addressHigh?: number; readonly data: number }
);

export interface MemorySlot {
  readonly slot: number;
  readonly base: number;
  readonly memory: SharedMemory;
  /** Of the slot's first byte in `memory`. */
  readonly offset: number;
  readonly size: number;
  readonly readOnly?: boolean;
  readonly logDirtyPages?: boolean;
}

const PAGE = 4096;
/** Where Intel processors without unrestricted guests keep what real mode needs: below the BIOS flash. */
const IDENTITY_MAP = 0xfeff_c000;
const TSS = 0xfeff_d000;

export class KvmVm {
  readonly system: KvmSystem;
  readonly host: KvmHost;
  readonly fd: number;
  readonly #vcpus: KvmVcpu[] = [];
  // Of the two calls that devices make all the time.
  readonly #message = s.msi.encode({});
  readonly #messageView = viewOf(this.#message);
  readonly #level = s.irqLevel.encode({});
  readonly #levelView = viewOf(this.#level);

  constructor(system: KvmSystem, fd: number) {
    this.system = system;
    this.host = system.host;
    this.fd = fd;
    // AMD's module does not need them and takes them too.
    this.host.ioctlStruct(fd, VM.SET_IDENTITY_MAP_ADDR, new Uint8Array(BigUint64Array.of(BigInt(IDENTITY_MAP)).buffer));
    this.host.ioctl(fd, VM.SET_TSS_ADDR, TSS);
  }

  /** Throws UserError when KVM refuses. */
  call(name: keyof typeof VM, argument: number): number {
    return this.#checked(name, this.host.ioctl(this.fd, VM[name], argument));
  }

  callStruct(name: keyof typeof VM, argument: Uint8Array): number {
    return this.#checked(name, this.host.ioctlStruct(this.fd, VM[name], argument));
  }

  #get<T>(name: keyof typeof VM, type: CStruct<T>, given: Partial<T> = {}): T {
    const bytes = type.encode(given);
    this.callStruct(name, bytes);
    return type.decode(bytes);
  }

  #checked(name: string, result: number): number {
    if (result < 0) throw new UserError(`KVM refuses ${name}: ${errnoName(-result)}`);
    return result;
  }

  capability(number: number): number {
    return Math.max(0, this.host.ioctl(this.fd, VM.CHECK_EXTENSION, number));
  }

  enableCapability(cap: number, ...args: number[]): void {
    this.callStruct('ENABLE_CAP', s.enableCap.encode({ cap, args: args.map(BigInt) }));
  }

  // --- Memory.

  setSlot(slot: MemorySlot): void {
    const { memory, offset, size, base } = slot;
    if (offset < 0 || offset + size > memory.sizeBytes) throw new InternalError('a KVM slot outside its memory');
    const flags = (slot.readOnly ? s.MEMORY_FLAG.readOnly : 0) | (slot.logDirtyPages ? s.MEMORY_FLAG.logDirtyPages : 0);
    const region = s.userspaceMemoryRegion.encode({
      slot: slot.slot,
      flags,
      guestPhysAddr: BigInt(base),
      memorySize: BigInt(size),
      userspaceAddr: memory.address + BigInt(offset),
    });
    this.callStruct('SET_USER_MEMORY_REGION', region);
  }

  removeSlot(slot: number): void {
    this.callStruct('SET_USER_MEMORY_REGION', s.userspaceMemoryRegion.encode({ slot }));
  }

  /** Takes the log of a slot: a bit for each page written since the last call. */
  dirtyBitmap(slot: number, sizeBytes: number): Uint8Array {
    const bitmap = new Uint8Array(Math.ceil(sizeBytes / PAGE / 64) * 8);
    this.callStruct('GET_DIRTY_LOG', s.dirtyLog.encode({ slot, bitmap: this.host.addressOf(bitmap) }));
    return bitmap;
  }

  // --- Interrupts.

  /** 8259s, I/O APIC and local APICs in the kernel. */
  createIrqchip(): void {
    this.call('CREATE_IRQCHIP', 0);
  }

  /** Local APICs in the kernel; `ioApicPins` routes are kept for an I/O APIC outside. */
  splitIrqchip(ioApicPins: number): void {
    this.enableCapability(CAP.SPLIT_IRQCHIP, ioApicPins);
  }

  /** With port 61h. */
  createPit(): void {
    this.callStruct('CREATE_PIT2', s.pitConfig.encode({ flags: s.PIT_SPEAKER }));
  }

  irqLine(gsi: number, level: boolean): void {
    this.#levelView.setUint32(s.irqLevel.offsets.irq, gsi, true);
    this.#levelView.setUint32(s.irqLevel.offsets.level, level ? 1 : 0, true);
    this.callStruct('IRQ_LINE', this.#level);
  }

  /** False when no CPU takes the message. */
  signalMsi(address: number, data: number, addressHigh = 0): boolean {
    const { offsets } = s.msi;
    this.#messageView.setUint32(offsets.addressLow, address, true);
    this.#messageView.setUint32(offsets.addressHigh, addressHigh, true);
    this.#messageView.setUint32(offsets.data, data, true);
    // A guest chooses address and data: what it made no sense of goes nowhere.
    return this.host.ioctlStruct(this.fd, VM.SIGNAL_MSI, this.#message) > 0;
  }

  /** Replaces all routes. */
  setRoutes(routes: readonly Route[]): void {
    const bytes = new Uint8Array(s.listHead.size + routes.length * s.irqRoutingEntry.size);
    const view = viewOf(bytes);
    s.listHead.write(view, 0, { count: routes.length });
    for (const [i, route] of routes.entries()) {
      const words =
        route.kind === 'irqchip' ? [route.chip, route.pin] : [route.address, route.addressHigh ?? 0, route.data];
      const entry = { gsi: route.gsi, type: s.ROUTING_TYPE[route.kind], words };
      s.irqRoutingEntry.write(view, s.listHead.size + i * s.irqRoutingEntry.size, entry);
    }
    this.callStruct('SET_GSI_ROUTING', bytes);
  }

  /** From here on a signal of the event counter is an interrupt at `gsi`; with `resampleFd`, a level until its EOI. */
  bindIrqfd(fd: number, gsi: number, resampleFd?: number): void {
    const flags = resampleFd === undefined ? 0 : s.IRQFD_FLAG.resample;
    this.callStruct('IRQFD', s.irqfd.encode({ fd, gsi, flags, resamplefd: resampleFd ?? 0 }));
  }

  unbindIrqfd(fd: number, gsi: number): void {
    this.callStruct('IRQFD', s.irqfd.encode({ fd, gsi, flags: s.IRQFD_FLAG.deassign }));
  }

  /**
   * From here on a guest's write at `address` signals the event counter and does not leave the kernel.
   * @param length 1, 2, 4, 8, or 0 for any
   * @param match only writes of this value
   * @returns false when the place is taken
   */
  bindIoeventfd(fd: number, place: IoPlace, match?: number): boolean {
    const result = this.host.ioctlStruct(this.fd, VM.IOEVENTFD, ioeventfd(fd, place, match, 0));
    if (-result === ERRNO.EEXIST || -result === ERRNO.ENOSPC) return false;
    this.#checked('IOEVENTFD', result);
    return true;
  }

  unbindIoeventfd(fd: number, place: IoPlace, match?: number): void {
    this.callStruct('IOEVENTFD', ioeventfd(fd, place, match, s.IOEVENTFD_FLAG.deassign));
  }

  /** Writes in this range are collected in the ring of the vCPUs' run pages until the next exit. */
  coalesce(address: number, size: number, pio = false): void {
    this.callStruct(
      'REGISTER_COALESCED_MMIO',
      s.coalescedZone.encode({ addr: BigInt(address), size, pio: pio ? 1 : 0 }),
    );
  }

  uncoalesce(address: number, size: number, pio = false): void {
    const zone = s.coalescedZone.encode({ addr: BigInt(address), size, pio: pio ? 1 : 0 });
    this.callStruct('UNREGISTER_COALESCED_MMIO', zone);
  }

  /**
   * A guest's reads and writes of these MSRs come out as exits. Throws UserError when KVM has no filter.
   * @param indices up to as many as ranges that KVM takes
   */
  interceptMsrs(indices: readonly number[]): void {
    this.enableCapability(CAP.X86_USER_SPACE_MSR, s.MSR_FILTER.reasonFilter);
    const none = new Uint8Array(8);
    const bitmap = this.host.addressOf(none);
    const flags = s.MSR_FILTER.read | s.MSR_FILTER.write;
    const ranges = Array.from({ length: s.MSR_FILTER.maxRanges }, (_, i) => {
      return i < indices.length
        ? { flags, count: 1, base: indices[i], bitmap }
        : { flags: 0, count: 0, base: 0, bitmap: 0n };
    });
    this.callStruct('X86_SET_MSR_FILTER', s.msrFilter.encode({ flags: 0, ranges }));
  }

  // --- State.

  irqchip(chipId: number): Uint8Array {
    return this.#get('GET_IRQCHIP', s.irqchip, { chipId }).chip;
  }

  setIrqchip(chipId: number, chip: Uint8Array): void {
    this.callStruct('SET_IRQCHIP', s.irqchip.encode({ chipId, chip }));
  }

  pit() {
    return this.#get('GET_PIT2', s.pitState2);
  }

  setPit(state: ReturnType<KvmVm['pit']>): void {
    this.callStruct('SET_PIT2', s.pitState2.encode(state));
  }

  /** kvmclock's nanoseconds. */
  clock(): bigint {
    return this.#get('GET_CLOCK', s.clockData).clock;
  }

  setClock(nanos: bigint): void {
    this.callStruct('SET_CLOCK', s.clockData.encode({ clock: nanos }));
  }

  // --- vCPUs.

  /** @param run where its run page is to be seen: `runSizeBytes` at `offset` */
  createVcpu(id: number, run: SharedMemory, offset: number): KvmVcpu {
    const fd = this.host.ioctl(this.fd, VM.CREATE_VCPU, id);
    if (fd < 0) throw new UserError(`KVM cannot make vCPU ${id}: ${vcpuFailure(-fd, this)}`);
    const vcpu = new KvmVcpu(this, id, fd, run, offset);
    this.#vcpus.push(vcpu);
    return vcpu;
  }

  /** Memory for the run pages of `count` vCPUs. */
  allocateRunPages(count: number): SharedMemory {
    return this.host.allocate(this.system.runSizeBytes * count);
  }

  /** Ends everything; no thread may be in KVM_RUN any more. */
  close(): void {
    for (const vcpu of this.#vcpus.splice(0)) vcpu.close();
    this.host.close(this.fd);
  }
}

export interface IoPlace {
  readonly address: number;
  readonly length: number;
  readonly pio?: boolean;
}

function ioeventfd(
  fd: number,
  { address, length, pio }: IoPlace,
  match: number | undefined,
  flags: number,
): Uint8Array {
  const { datamatch, pio: pioFlag } = s.IOEVENTFD_FLAG;
  return s.ioeventfd.encode({
    fd,
    addr: BigInt(address),
    length,
    datamatch: BigInt(match ?? 0),
    flags: flags | (match === undefined ? 0 : datamatch) | (pio ? pioFlag : 0),
  });
}

function vcpuFailure(errno: number, vm: KvmVm): string {
  if (errno === ERRNO.EINVAL || errno === ERRNO.E2BIG) return `this host has at most ${vm.capability(CAP.MAX_VCPUS)}`;
  return errnoName(errno);
}

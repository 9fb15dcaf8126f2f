/** Guests of a few instructions on this machine's /dev/kvm, for tests. */
import { nodeKvmHost } from '../../../host/node/index.ts';
import { EXIT, exitName } from '../exits.ts';
import type { GuestRam, RamOptions } from '../host.ts';
import { exitIo, exitMmio, RUN_DATA, runHead } from '../structures.ts';
import { type KvmSystem, openKvm } from '../system.ts';
import type { KvmVcpu } from '../vcpu.ts';
import type { KvmVm } from '../vm.ts';

/** Why tests of /dev/kvm are skipped here, or false. */
export const kvmMissing: string | false = (() => {
  try {
    openKvm(nodeKvmHost()).close();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
})();

export const KIB = 1024;
export const CODE = 0x1000;

export interface TinyGuest extends Disposable {
  readonly system: KvmSystem;
  readonly vm: KvmVm;
  readonly ram: GuestRam;
  /** Guest physical 0 and up. */
  readonly memory: Uint8Array;
  readonly vcpu: KvmVcpu;
  addVcpu(): KvmVcpu;
}

export interface TinyOptions {
  readonly irqchip?: 'none' | 'full' | 'split';
  readonly ramBytes?: number;
  readonly ram?: RamOptions;
  readonly vcpus?: number;
  /** Called before anything is put into the VM. */
  readonly prepare?: (vm: KvmVm) => void;
}

/** A VM in real mode at CODE, where `code` is. */
export function tinyGuest(code: readonly number[], options: TinyOptions = {}): TinyGuest {
  const { irqchip = 'none', ramBytes = 64 * KIB, vcpus = 1 } = options;
  const system = openKvm(nodeKvmHost());
  const vm = system.createVm();
  options.prepare?.(vm);
  if (irqchip === 'full') vm.createIrqchip();
  if (irqchip === 'split') vm.splitIrqchip(24);
  const ram = system.host.allocateRam(ramBytes, options.ram ?? {});
  vm.setSlot({ slot: 0, base: 0, memory: ram, offset: 0, size: ramBytes });
  const memory = new Uint8Array(ram.buffer, ram.offset, ramBytes);
  memory.set(code, CODE);
  const pages = vm.allocateRunPages(vcpus);
  let made = 0;
  const addVcpu = () => {
    const vcpu = vm.createVcpu(made, pages, made * system.runSizeBytes);
    made++;
    vcpu.setCpuid(system.supportedCpuid());
    return vcpu;
  };
  const vcpu = addVcpu();
  enterRealMode(vcpu, CODE);
  return {
    system,
    vm,
    ram,
    memory,
    vcpu,
    addVcpu,
    [Symbol.dispose]() {
      vm.close();
      system.close();
    },
  };
}

export function enterRealMode(vcpu: KvmVcpu, ip: number): void {
  const sregs = vcpu.sregs();
  const [cs, ds, es, ss] = [sregs.cs, sregs.ds, sregs.es, sregs.ss].map((one) => ({ ...one, base: 0n, selector: 0 }));
  vcpu.setSregs({ ...sregs, cs, ds, es, ss });
  vcpu.setRegs({ ...vcpu.regs(), rip: BigInt(ip), rflags: 2n, rsp: 0x800n });
}

/** 64-bit mode at CODE: the first 2 MiB identity-mapped, flat segments. */
export function enterLongMode({ vcpu, memory }: TinyGuest): void {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  view.setBigUint64(0x2000, 0x3003n, true);
  view.setBigUint64(0x3000, 0x4003n, true);
  view.setBigUint64(0x4000, 0x83n, true);
  const sregs = vcpu.sregs();
  const flat = { base: 0n, limit: 0xffff_ffff, present: 1, dpl: 0, s: 1, g: 1, avl: 0, unusable: 0, padding: 0 };
  const data = { ...flat, selector: 0x18, type: 3, db: 1, l: 0 };
  vcpu.setSregs({
    ...sregs,
    cs: { ...flat, selector: 0x10, type: 11, db: 0, l: 1 },
    ...{ ds: data, es: data, fs: data, gs: data, ss: data },
    cr3: 0x2000n,
    cr4: 0x20n,
    cr0: 0x8000_0011n,
    efer: 0x500n,
  });
  vcpu.setRegs({ ...vcpu.regs(), rip: BigInt(CODE), rflags: 2n, rsp: 0x800n });
}

export interface SeenExit {
  readonly kind: string;
  readonly address?: number;
  readonly size?: number;
  readonly value?: number;
  readonly write?: boolean;
}

/** Runs until `stop` says so, at most `most` exits. `input` gives what reads see. */
export function runExits(
  vcpu: KvmVcpu,
  stop: (exit: SeenExit) => boolean = ({ kind }) => kind !== 'io' && kind !== 'mmio',
  input: (exit: SeenExit) => number = () => 0,
  most = 1000,
): SeenExit[] {
  const exits: SeenExit[] = [];
  while (exits.length < most) {
    const result = vcpu.enter();
    const exit: SeenExit = result < 0 ? { kind: `errno ${-result}` } : readExit(vcpu, input);
    exits.push(exit);
    if (stop(exit)) return exits;
  }
  throw new Error(`no end after ${most} exits: ${JSON.stringify(exits.slice(-3))}`);
}

function readExit(vcpu: KvmVcpu, input: (exit: SeenExit) => number): SeenExit {
  const view = vcpu.runView;
  const reason = view.getUint32(runHead.offsets.exitReason, true);
  if (reason === EXIT.io) {
    const io = exitIo.read(view, RUN_DATA);
    const at = Number(io.dataOffset);
    const exit = { kind: 'io', address: io.port, size: io.size, write: io.direction === 1 };
    if (exit.write) return { ...exit, value: readLittle(vcpu.run, at, io.size) };
    const value = input(exit);
    writeLittle(vcpu.run, at, io.size, value);
    return { ...exit, value };
  }
  if (reason === EXIT.mmio) {
    const mmio = exitMmio.read(view, RUN_DATA);
    const at = RUN_DATA + exitMmio.offsets.data;
    const exit = { kind: 'mmio', address: Number(mmio.physAddr), size: mmio.length, write: mmio.isWrite === 1 };
    if (exit.write) return { ...exit, value: readLittle(vcpu.run, at, mmio.length) };
    const value = input(exit);
    writeLittle(vcpu.run, at, mmio.length, value);
    return { ...exit, value };
  }
  return { kind: exitName(reason) ?? `exit ${reason}` };
}

function readLittle(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = Math.min(size, 6) - 1; i >= 0; i--) value = value * 256 + bytes[at + i];
  return value;
}

function writeLittle(bytes: Uint8Array, at: number, size: number, value: number): void {
  for (let i = 0; i < size; i++) bytes[at + i] = Math.floor(value / 256 ** i) & 0xff;
}

/** Snapshots of the whole machine in its disks: what its thread does for savevm, loadvm and QMP's jobs. */
import { UserError } from '../base/index.ts';
import type { DeviceRecord, GuestMemory } from '../contract/index.ts';
import {
  PAGE_BYTES,
  type RamView,
  SnapshotReader,
  scannedMemory,
  scannerOf,
  snapshotBytes,
} from '../migration/index.ts';
import type { VmSnapshotOrder } from './commands.ts';
import { deviceSections, machineRecord } from './device-sections.ts';
import { checkSameHardware, ramOf, recordAt } from './hardware.ts';
import { loadMachineRecord, saveMachineRecord } from './machine-record.ts';
import type { AssembledMachine, BlockService } from './parts.ts';

/** Pieces of RAM in a snapshot, at most. */
const PIECE_BYTES = 4 * 1024 * 1024;

function blockOf({ block }: AssembledMachine): BlockService {
  if (block === undefined) throw new UserError('No block device can accept snapshots');
  return block;
}

/** The machine stands still. */
export async function saveVm(machine: AssembledMachine, order: VmSnapshotOrder): Promise<void> {
  const block = blockOf(machine);
  if (machine.hasShares)
    throw new UserError('a machine with shared folders cannot be saved: what the guest has open there is lost');
  machine.hold();
  await machine.settled();
  machine.flush();
  const { name, scope, replaces } = order;
  const { hardware } = machine;
  const devices = deviceSections(saveMachineRecord(machine));
  const state = snapshotBytes({ state: { hardware }, blobs: [], memory: machine.memory, devices });
  await block.vm.save({ name, replaces, vmClockNanos: Math.round(machine.clock.nowNanos()) }, scope, state);
}

/**
 * The machine stands still. The state is read twice: nothing is changed before all of it is known to be whole.
 * @throws UserError when there is no such snapshot, or it is damaged, or of another machine
 */
export async function loadVm(machine: AssembledMachine, { name, scope }: VmSnapshotOrder): Promise<void> {
  const { hardware } = machine;
  const { vm } = blockOf(machine);
  machine.hold();
  await machine.settled();
  const scratch = scannedMemory(PIECE_BYTES);
  const sink: RamView = (_address, length) => scratch.bytes.subarray(0, length);
  await readAll(vm.read(name, scope), hardware, (reader) => reader.connectMemory(sink, scratch.checksum));
  const named = new Uint8Array(Math.ceil(machine.memory.size / PAGE_BYTES));
  const ram = ramOf({ memory: machine.memory });
  const into: RamView = (address, length) => {
    mark(named, machine.memory, address, length);
    return ram(address, length);
  };
  const reader = await readAll(vm.read(name, scope), hardware, (reader) => reader.connectMemory(into, 'known'));
  clearOthers(named, machine.memory);
  await vm.apply(name, scope);
  for (const { base, size } of machine.memory.ranges) machine.memory.written(base, size);
  loadMachineRecord(machine, machineRecord(reader));
}

async function readAll(
  pieces: AsyncIterable<Uint8Array>,
  hardware: DeviceRecord,
  connect: (reader: SnapshotReader) => void,
): Promise<SnapshotReader> {
  const reader = new SnapshotReader();
  for await (const piece of pieces) {
    const taken = reader.feed(piece);
    if (!reader.isWaitingForMemory) continue;
    checkSameHardware(recordAt(reader.state, 'hardware'), hardware);
    connect(reader);
    reader.feed(piece.subarray(taken));
  }
  reader.end();
  return reader;
}

type Ram = Pick<GuestMemory, 'buffer' | 'ranges' | 'memory'>;

function mark(named: Uint8Array, { ranges }: Ram, address: number, length: number): void {
  let first = 0;
  for (const { base, size } of ranges) {
    if (address >= base && address < base + size) {
      const page = first + (address - base) / PAGE_BYTES;
      named.fill(1, page, page + length / PAGE_BYTES);
    }
    first += size / PAGE_BYTES;
  }
}

/** RAM that the snapshot does not name is zero. */
function clearOthers(named: Uint8Array, memory: Ram): void {
  const { buffer, ranges } = memory;
  const bytes = new Uint8Array(buffer);
  const { isZeroPage } = scannerOf(memory);
  let page = 0;
  for (const { size, offset } of ranges) {
    for (let at = offset; at < offset + size; at += PAGE_BYTES, page++) {
      if (named[page] === 0 && !isZeroPage(at)) bytes.fill(0, at, at + PAGE_BYTES);
    }
  }
}

export async function deleteVm(machine: AssembledMachine, { name, scope }: VmSnapshotOrder): Promise<void> {
  await blockOf(machine).vm.delete(name, scope);
}

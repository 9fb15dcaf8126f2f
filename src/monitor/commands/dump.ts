/** Handlers of qapi/dump.ts. */
import { MEMORY_TRANSFER_MAX_BYTES } from '../../machine/index.ts';
import type { X86CpuRecord } from '../../target/index.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { DebuggedMemory } from '../gdb/memory.ts';
import type { dumpCommands } from '../qapi/dump.ts';
import { KEY_CODES } from '../qapi/key-codes.ts';
import { invalidParameter, QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';
import { machineOf } from './run-state.ts';

export const dumpHandlers: Handlers<keyof typeof dumpCommands> = {
  async memsave(emulator, { val, size, filename, 'cpu-index': cpuIndex = 0 }) {
    const machine = machineOf(emulator);
    if (cpuIndex !== 0) throw invalidParameter('cpu-index', 'a CPU number');
    if (size < 0 || val < 0) throw new QmpError("Parameter 'size' expects a size");
    const cpu = (await machine.command('read-cpu')) as unknown as X86CpuRecord;
    const memory = new DebuggedMemory(machine);
    async function* pieces() {
      for (let at = 0; at < size; at += MEMORY_TRANSFER_MAX_BYTES) {
        const length = Math.min(MEMORY_TRANSFER_MAX_BYTES, size - at);
        const bytes = await memory.read(cpu, BigInt(val) + BigInt(at), length);
        if (bytes === undefined || bytes.length < length) {
          throw new QmpError(`Invalid addr 0x${(BigInt(val) + BigInt(at)).toString(16)}/size ${size} specified`);
        }
        yield bytes;
      }
    }
    await emulator.host.writeFile(filename, pieces());
    return DONE;
  },
  async 'dump-guest-memory'(emulator, { paging, protocol, detach, begin, length }) {
    const [, path] = /^file:(.+)$/s.exec(protocol) ?? [];
    if (path === undefined) throw invalidParameter('protocol', 'file:PATH, as nothing else is supported');
    if (paging) throw new QmpError('paging=true is not supported: the addresses of a dump are physical');
    if (detach) throw new QmpError('detach=true is not supported');
    if ((begin === undefined) !== (length === undefined)) throw new QmpError('begin and length need each other');
    await writeDump(emulator, path, begin === undefined ? undefined : { base: begin, size: length! });
    return DONE;
  },
  'query-dump': ({ lastDump }) => lastDump,
  'query-dump-guest-memory-capability': () => ({ formats: ['elf'] }),
  async 'send-key'(emulator, { keys }) {
    const inputs = emulator.config.others.filter(({ driver }) => /^virtio-(keyboard|mouse|tablet)-pci$/.test(driver));
    const device = inputs.findIndex(({ driver }) => driver === 'virtio-keyboard-pci');
    if (device < 0)
      throw new QmpError('the machine has no keyboard that keys can be sent to: -device virtio-keyboard-pci');
    const codes = keys.map((key) => (key.type === 'number' ? key.data : KEY_CODES[key.data]));
    const events = (order: readonly number[], value: number) => order.map((code) => ({ type: 1, code, value }));
    const end = { type: 0, code: 0, value: 0 };
    const press = { device, events: [...events(codes, 1), end] };
    const release = { device, events: [...events(codes.toReversed(), 0), end] };
    for (const sent of [press, release]) await machineOf(emulator).command('send-input', sent);
    return DONE;
  },
};

interface Piece {
  readonly base: number;
  readonly size: number;
}

const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
/** elf_prstatus of x86-64: registers at 112, 336 bytes in all. */
const STATUS_BYTES = 336;
const STATUS_REGISTERS = 112;
/** R15 to RDI in the order of user_regs_struct, as numbers of X86_CPU's `general`. */
const GENERAL = [15, 14, 13, 12, 5, 3, 11, 10, 9, 8, 0, 1, 2, 6, 7];

/** An ELF core (System V ABI; Linux's struct elf_prstatus): a note with the registers, then the memory. */
async function writeDump(emulator: Emulator, path: string, part: Piece | undefined): Promise<void> {
  const machine = machineOf(emulator);
  const ran = machine.state === 'running';
  if (ran) await machine.command('pause');
  const pieces = machine.memory.ranges.flatMap(({ base, size }): Piece[] => {
    const from = Math.max(base, part?.base ?? base);
    const to = Math.min(base + size, part === undefined ? base + size : part.base + part.size);
    return to > from ? [{ base: from, size: to - from }] : [];
  });
  const total = pieces.reduce((sum, { size }) => sum + size, 0);
  try {
    if (total === 0) throw new QmpError('there is no memory in this range');
    const note = statusNote((await machine.command('read-cpu')) as unknown as X86CpuRecord);
    await emulator.host.writeFile(path, dumpPieces(emulator, pieces, note));
    emulator.lastDump = { status: 'completed', completed: total, total };
  } catch (error) {
    emulator.lastDump = { status: 'failed', completed: 0, total };
    throw error;
  } finally {
    if (ran) await machine.command('resume');
  }
}

async function* dumpPieces(emulator: Emulator, pieces: readonly Piece[], note: Uint8Array): AsyncGenerator<Uint8Array> {
  const machine = machineOf(emulator);
  const headerBytes = ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES * (pieces.length + 1);
  const header = new DataView(new ArrayBuffer(headerBytes));
  const put = (at: number, ...bytes: number[]) => {
    for (const [i, byte] of bytes.entries()) header.setUint8(at + i, byte);
  };
  put(0, 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1); // 64 bits, little-endian
  header.setUint16(16, 4, true); // ET_CORE
  header.setUint16(18, 62, true); // EM_X86_64
  header.setUint32(20, 1, true);
  header.setBigUint64(32, BigInt(ELF_HEADER_BYTES), true);
  header.setUint16(52, ELF_HEADER_BYTES, true);
  header.setUint16(54, PROGRAM_HEADER_BYTES, true);
  header.setUint16(56, pieces.length + 1, true);
  let offset = headerBytes;
  const segments = [{ type: 4, base: 0, size: note.length }, ...pieces.map((piece) => ({ type: 1, ...piece }))];
  for (const [index, { type, base, size }] of segments.entries()) {
    const at = ELF_HEADER_BYTES + index * PROGRAM_HEADER_BYTES;
    header.setUint32(at, type, true);
    header.setBigUint64(at + 8, BigInt(offset), true);
    header.setBigUint64(at + 24, BigInt(base), true);
    header.setBigUint64(at + 32, BigInt(size), true);
    header.setBigUint64(at + 40, BigInt(size), true);
    offset += size;
  }
  yield new Uint8Array(header.buffer);
  yield note;
  for (const { base, size } of pieces) {
    for (let at = 0; at < size; at += MEMORY_TRANSFER_MAX_BYTES) {
      const length = Math.min(MEMORY_TRANSFER_MAX_BYTES, size - at);
      yield await machine.command('read-memory', { address: base + at, length });
    }
  }
}

/** NT_PRSTATUS of the first CPU. */
function statusNote({ general, rip, rflags, segments }: X86CpuRecord): Uint8Array {
  const NAME_BYTES = 8;
  const view = new DataView(new ArrayBuffer(12 + NAME_BYTES + STATUS_BYTES));
  view.setUint32(0, 5, true);
  view.setUint32(4, STATUS_BYTES, true);
  view.setUint32(8, 1, true);
  for (const [i, letter] of [...'CORE'].entries()) view.setUint8(12 + i, letter.charCodeAt(0));
  const body = 12 + NAME_BYTES;
  view.setUint32(body + 32, 1, true); // pr_pid
  const { cs, ss, ds, es, fs, gs } = segments;
  const values = [
    ...GENERAL.map((index) => general[index]),
    ...[general[0], rip, cs.selector, rflags, general[4], ss.selector, fs.base, gs.base],
    ...[ds, es, fs, gs].map(({ selector }) => selector),
  ];
  for (const [i, value] of values.entries()) {
    view.setBigUint64(body + STATUS_REGISTERS + i * 8, BigInt.asUintN(64, BigInt(value)), true);
  }
  return new Uint8Array(view.buffer);
}

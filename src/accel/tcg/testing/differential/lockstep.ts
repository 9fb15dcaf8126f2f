/**
 * The same program in two engines: one translates, the other one executes it instruction by instruction. Where they
 * part, the first instruction is looked for that they disagree about.
 */
import type { DeviceRecord, VcpuDebug } from '../../../../contract/index.ts';
import { buildTable, decode, type Feature, modeBits, state, X86_CPU, x86Rows } from '../../../../target/index.ts';
import { pageTable, type SmallGuest } from '../small-guest.ts';

/** RAM from address 0 that programs may use. */
export const usedBytes = 0x3_0000;
/** Where they may write: page tables, whose accessed bits may be set ahead of the program, are below. */
const writableStart = pageTable + 0x1000;
const int3 = 0xcc;
/** Instructions of a way whose end is not known. */
const listed = 20;
/** Instructions that are executed one by one. */
const singles = 500;
/** Time enough for one instruction, and for any program's way to a breakpoint (in the guests' clock). */
const longNanos = 1e6;
/** How many instructions may belong to a slice of so many taken branches, at the most. */
const stepsOf = (branches: number): number => 20_000 + 1000 * branches;

export interface Lockstep {
  /** The one that is tested. */
  readonly translated: SmallGuest;
  /** An interpreter. */
  readonly stepped: SmallGuest;
}

export interface LockstepDifference {
  /** What was executed when they parted: one instruction, or as little as they part in. */
  readonly instructions: readonly string[];
  /** Registers and memory with both values. */
  readonly differences: readonly string[];
}

/** Two CPUs and memories in the same state. */
interface Moment {
  readonly translated: Parts;
  readonly stepped: Parts;
}
interface Parts {
  readonly cpu: DeviceRecord;
  readonly ram: Uint8Array;
}

/** Branches for what counts as many (an instruction across two pages), when slices are too short for it. */
const engineBranches = 1000;
/** Slices that may pass with nothing but decoding and translating. */
const idleSlices = 5;

const rip = (guest: SmallGuest): number => Number(guest.cpu.getBig(state.linear));
const take = (guest: SmallGuest): Parts => ({ cpu: guest.vcpu.snapshot(), ram: guest.ram.slice(0, usedBytes) });
const moment = ({ translated, stepped }: Lockstep): Moment => ({
  translated: take(translated),
  stepped: take(stepped),
});

const registers = (guest: SmallGuest): bigint[] => state.gpr.map((r) => guest.cpu.getBig(r));

function give(guest: SmallGuest, { cpu, ram }: Parts): void {
  guest.write(0, Array.from(ram));
  guest.vcpu.restore(cpu);
}

function goBack(pair: Lockstep, to: Moment): void {
  give(pair.translated, to.translated);
  give(pair.stepped, to.stepped);
}

/** Executes one instruction. */
function step(guest: SmallGuest): void {
  debugOf(guest).step();
  guest.vcpu.run(longNanos);
}

function debugOf({ vcpu: { debug } }: SmallGuest): VcpuDebug {
  if (!debug) throw new Error('the guest has no debugger');
  return debug;
}

const isRunning = (guest: SmallGuest): boolean => guest.cpu.get(state.activity) === state.activities.running;

/** Runs the translated guest for some taken branches. */
function slice({ translated }: Lockstep, branches: number): void {
  translated.cpu.set(state.budget, branches);
  translated.vcpu.run(1);
}

/** Executes what the other one did in its slice; what differs then, or nothing. */
function follow(pair: Lockstep, branches: number): readonly string[] {
  const { translated, stepped } = pair;
  const end = translated.cpu.getBig(state.linear);
  const wanted = registers(translated);
  const nowhere = [`rip: translated ${end.toString(16)}, where the interpreter does not come to`];
  let nearest: { distance: number; differences: readonly string[] } = { distance: 17, differences: nowhere };
  for (let steps = 0; steps <= stepsOf(branches); steps++) {
    if (stepped.cpu.getBig(state.linear) === end) {
      const distance = registers(stepped).filter((value, i) => value !== wanted[i]).length;
      if (distance === 0 || distance < nearest.distance) nearest = { distance, differences: compare(pair) };
      if (nearest.differences.length === 0) return [];
    }
    if (!isRunning(stepped)) break;
    step(stepped);
  }
  return nearest.differences;
}

interface Parting {
  /** The last moment when all was equal. */
  readonly from: Moment;
  /** Where the translated guest was when it was not. */
  readonly end: number;
  readonly differences: readonly string[];
}

/** Goes on by slices of so many taken branches until the program ends or the two differ. */
function runSlices(pair: Lockstep, branches: () => number): Parting | undefined {
  const place = () => `${rip(pair.translated)} ${registers(pair.translated)}`;
  let idle = 0;
  while (isRunning(pair.translated)) {
    const from = moment(pair);
    const start = place();
    const count = idle > idleSlices ? engineBranches : branches();
    slice(pair, count);
    idle = place() === start ? idle + 1 : 0;
    const end = rip(pair.translated);
    const differences = follow(pair, count);
    if (differences.length > 0) return { from, end, differences };
  }
  return undefined;
}

/**
 * Runs what both guests are about to run until it halts.
 * @param branches how many taken branches the next slice is to have
 */
export function lockstep(pair: Lockstep, branches: () => number): LockstepDifference | undefined {
  let largest = 1;
  let found = runSlices(pair, () => {
    const count = branches();
    largest = Math.max(largest, count);
    return count;
  });
  if (!found) return undefined;
  for (let count = largest >> 1; count > 0; count >>= 1) {
    goBack(pair, found.from);
    const closer = runSlices(pair, () => count);
    if (!closer) break;
    found = closer;
  }
  return narrow(pair, found);
}

/** Lets the translated guest run to each instruction of the way that the other one takes, until they differ there. */
function narrow(pair: Lockstep, { from, end, differences }: Parting): LockstepDifference {
  const way = wayFrom(pair, from);
  const seen = new Set<number>();
  let before = 0;
  for (const [i, address] of way.entries()) {
    if (seen.has(address)) continue;
    seen.add(address);
    const found = meet(pair, from, i);
    // What was come to again in between may be at fault.
    if (found.length > 0 && i > before + 1) break;
    if (found.length > 0) return { instructions: listing(pair, from, way.slice(before, i)), differences: found };
    before = i;
  }
  const single = oneByOne(pair, from);
  if (single) return single;
  // They differ only where they are not stopped on their way.
  const length = way.indexOf(end, 1);
  return { instructions: listing(pair, from, way.slice(0, length > 0 ? length : listed)), differences };
}

/** Stops both at every instruction, which shows what goes wrong only when it is come to again. */
function oneByOne(pair: Lockstep, from: Moment): LockstepDifference | undefined {
  goBack(pair, from);
  const { stepped } = pair;
  for (let i = 0; i < singles && isRunning(stepped); i++) {
    const before = moment(pair);
    const address = rip(stepped);
    // A breakpoint at the same instruction would be met before it is executed.
    do step(stepped);
    while (isRunning(stepped) && rip(stepped) === address);
    const differences = stopThere(pair);
    if (differences.length > 0) return { instructions: listing(pair, before, [address]), differences };
  }
  return undefined;
}

/** Addresses of the instructions that are executed from there on. */
function wayFrom(pair: Lockstep, from: Moment): number[] {
  goBack(pair, from);
  const { stepped } = pair;
  const way = [rip(stepped)];
  while (isRunning(stepped) && way.length < stepsOf(1)) {
    step(stepped);
    way.push(rip(stepped));
  }
  return way;
}

/** What differs when both come to the instruction of that number, which is new on the way, for the first time. */
function meet(pair: Lockstep, from: Moment, count: number): readonly string[] {
  goBack(pair, from);
  for (let i = 0; i < count; i++) step(pair.stepped);
  return stopThere(pair);
}

/** Runs the translated guest to where the other one is; what differs then. */
function stopThere(pair: Lockstep): readonly string[] {
  const { translated, stepped } = pair;
  const address = rip(stepped);
  if (!isRunning(stepped)) {
    translated.vcpu.run(longNanos);
    return compare(pair);
  }
  const byte = translated.ram[address];
  const debug = debugOf(translated);
  translated.write(address, [int3]);
  debug.isBreakpoint = (low) => low === address;
  translated.vcpu.run(longNanos);
  debug.isBreakpoint = () => false;
  translated.write(address, [byte]);
  return compare(pair);
}

/** What differs between the two, besides the time-stamp counter and the models' features. */
function compare({ translated, stepped }: Lockstep): readonly string[] {
  const [found, expected] = [translated, stepped].map((guest) => {
    const { tsc: _tsc, features: _features, ...record } = X86_CPU.load(guest.vcpu.snapshot());
    return new Map(flat('', record));
  });
  const out: string[] = [];
  for (const name of new Set([...expected.keys(), ...found.keys()]))
    if (found.get(name) !== expected.get(name))
      out.push(`${name}: translated ${found.get(name)}, interpreted ${expected.get(name)}`);
  const [a, b] = [translated.ram, stepped.ram];
  if (Buffer.compare(a.subarray(writableStart, usedBytes), b.subarray(writableStart, usedBytes)) === 0) return out;
  for (let i = writableStart; i < usedBytes; i++)
    if (a[i] !== b[i])
      out.push(`[${i.toString(16)}]: translated ${a[i].toString(16)}, interpreted ${b[i].toString(16)}`);
  return out;
}

/** The values in a record by name. */
function flat(name: string, value: unknown): (readonly [string, string])[] {
  if (value instanceof Uint8Array) return blob(name, value);
  if (typeof value !== 'object' || value === null)
    return [[name, typeof value === 'bigint' ? value.toString(16) : String(value)]];
  return Object.entries(value).flatMap(([key, inner]) => {
    if (name === 'general') return flat(state.gpr[Number(key)].name, inner);
    return flat(name ? `${name}.${key}` : key, inner);
  });
}

/** An XSAVE image by lines of 16 bytes, of which some have names (SDM vol. 1, 10.5.1). */
function blob(name: string, bytes: Uint8Array): (readonly [string, string])[] {
  return Array.from({ length: Math.ceil(bytes.length / 16) }, (_, i) => {
    const vector = i - 10;
    const line = vector >= 0 && vector < 16 ? `xmm${vector}` : `${name}+${16 * i}`;
    return [line, Buffer.from(bytes.subarray(16 * i, 16 * i + 16)).toString('hex')] as const;
  });
}

/** Address, bytes and mnemonic of 64-bit instructions. */
function listing(pair: Lockstep, from: Moment, way: readonly number[]): string[] {
  goBack(pair, from);
  const { ram } = pair.stepped;
  const table = buildTable(x86Rows);
  const features = new Set<Feature>(table.rows.flatMap(({ row }) => row.cpuid ?? []));
  return [...new Set(way)].map((address) => {
    const found = decode(table, features, modeBits.long64, ram, address, address + 15);
    const [length, name] =
      typeof found === 'string'
        ? [15, found]
        : [found.length, `${found.parsed.row.mnemonic} ${found.parsed.row.operands}`];
    const bytes = Buffer.from(ram.subarray(address, address + length)).toString('hex');
    return `${address.toString(16)}: ${bytes} ${name}`.trim();
  });
}

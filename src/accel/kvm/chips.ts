/** The kernel's interrupt controllers and timer chip to and from the state that every accelerator's have (contract's chips). */
import type { IoApicState, LocalApicState, Pic8259State, PitCounterState, PitState } from '../../contract/index.ts';
import type { ValueOf } from './struct.ts';
import { viewOf } from './struct.ts';
import { ioapicState, type PitChannel, type picState, type pitState2 } from './structures.ts';

type KvmPic = ValueOf<typeof picState>;
type KvmPit = ValueOf<typeof pitState2>;

const COMMAND_WORDS = ['ocw1', 'icw2', 'icw3', 'icw4'] as const;
const CASCADE = 1 << 2;

/** In the kernel a level's request is its line, and the slave's comes to the master as an edge. */
export function fromKvmPic(pic: KvmPic): Pic8259State {
  return {
    lines: pic.lastIrr,
    edges: pic.irr & ~pic.elcr,
    levelTriggered: pic.elcr,
    mask: pic.imr,
    inService: pic.isr,
    vectorBase: pic.irqBase,
    expects: COMMAND_WORDS[pic.initState] ?? 'ocw1',
    needsIcw4: pic.init4 !== 0,
    autoEoi: pic.autoEoi !== 0,
    rotateOnAutoEoi: pic.rotateOnAutoEoi !== 0,
    specialMask: pic.specialMask !== 0,
    specialFullyNested: pic.specialFullyNestedMode !== 0,
    poll: pic.poll !== 0,
    readInService: pic.readRegSelect !== 0,
    highestPriority: pic.priorityAdd & 7,
  };
}

/** @param before of the same chip: what is not state */
export function toKvmPic(state: Pic8259State, before: KvmPic, isMaster: boolean): KvmPic {
  const { levelTriggered } = state;
  const lines = state.lines & ~(isMaster ? CASCADE : 0);
  return {
    ...before,
    lastIrr: lines,
    irr: (state.edges & ~levelTriggered) | (lines & levelTriggered),
    elcr: levelTriggered,
    imr: state.mask,
    isr: state.inService,
    irqBase: state.vectorBase,
    initState: COMMAND_WORDS.indexOf(state.expects),
    init4: state.needsIcw4 ? 1 : 0,
    autoEoi: state.autoEoi ? 1 : 0,
    rotateOnAutoEoi: state.rotateOnAutoEoi ? 1 : 0,
    specialMask: state.specialMask ? 1 : 0,
    specialFullyNestedMode: state.specialFullyNested ? 1 : 0,
    poll: state.poll ? 1 : 0,
    readRegSelect: state.readInService ? 1 : 0,
    priorityAdd: state.highestPriority,
  };
}

/** A redirection entry's lower half: what is being delivered is nobody's state. */
const ENTRY = { pending: 0x1000n, level: 0x8000, masked: 0x1_0000 } as const;

/** @param lines pin levels: the kernel forgets those of edges that it has delivered */
export function fromKvmIoApic(chip: Uint8Array, lines: number): IoApicState {
  const { id, ioregsel, redirection } = ioapicState.decode(chip);
  return {
    id: id & 0xff,
    select: ioregsel & 0xff,
    entries: redirection.map((entry) => Number(entry & ~ENTRY.pending & 0xffff_ffffn)),
    destinations: redirection.map((entry) => Number(entry >> 32n)),
    lines: lines >>> 0,
  };
}

/** @param before of the same chip: what is not state */
export function toKvmIoApic(state: IoApicState, before: Uint8Array): Uint8Array {
  // A level is asked for again; an edge that was there before has been told.
  const levels = state.entries.reduce((sum, entry, pin) => (entry & ENTRY.level ? sum | (1 << pin) : sum), 0);
  const chip = before.slice();
  ioapicState.write(viewOf(chip), 0, {
    id: state.id,
    ioregsel: state.select,
    irr: (state.lines & levels) >>> 0,
    redirection: state.entries.map((entry, pin) => BigInt(entry) | (BigInt(state.destinations[pin]) << 32n)),
  });
  return chip;
}

/** Offsets in a local APIC's registers. */
const APIC = {
  taskPriority: 0x80,
  logicalDestination: 0xd0,
  destinationFormat: 0xe0,
  spurious: 0xf0,
  inService: 0x100,
  triggerMode: 0x180,
  requested: 0x200,
  shownErrors: 0x280,
  commandLow: 0x300,
  commandHigh: 0x310,
  initialCount: 0x380,
  currentCount: 0x390,
  divide: 0x3e0,
} as const;
const LVT = [0x320, 0x330, 0x340, 0x350, 0x360, 0x370] as const;
const VECTOR_WORDS = Array.from({ length: 8 }, (_, word) => word * 0x10);

export interface KvmApic {
  readonly registers: Uint8Array;
  readonly base: bigint;
  /** IA32_TSC_DEADLINE. */
  readonly deadline: bigint;
}

/** @param tsc what the CPU's counter has now, and how fast it is */
export function fromKvmApic({ registers, base, deadline }: KvmApic, tsc: bigint, tscKhz: number): LocalApicState {
  const view = viewOf(registers);
  const word = (offset: number) => view.getUint32(offset, true);
  const words = (offset: number) => VECTOR_WORDS.map((more) => word(offset + more));
  const left = deadline > tsc ? Number(((deadline - tsc) * 1_000_000n) / BigInt(tscKhz)) : 0;
  return {
    base: Number(BigInt.asUintN(32, base)),
    taskPriority: word(APIC.taskPriority) & 0xff,
    logicalDestination: word(APIC.logicalDestination),
    destinationFormat: word(APIC.destinationFormat),
    spurious: word(APIC.spurious),
    inService: words(APIC.inService),
    triggerMode: words(APIC.triggerMode),
    requested: words(APIC.requested),
    shownErrors: word(APIC.shownErrors) & 0xff,
    commandLow: word(APIC.commandLow),
    commandHigh: word(APIC.commandHigh),
    lvt: LVT.map(word),
    timer: {
      initialCount: word(APIC.initialCount),
      currentCount: word(APIC.currentCount),
      divide: word(APIC.divide) & 0x0b,
      tscLow: Number(BigInt.asUintN(32, deadline)),
      tscHigh: Number(deadline >> 32n),
      nanosToDeadline: deadline === 0n ? undefined : left,
    },
  };
}

/** @param before registers of the same APIC: its number and version */
export function toKvmApic(state: LocalApicState, before: Uint8Array): KvmApic {
  const registers = before.slice();
  const view = viewOf(registers);
  const put = (offset: number, value: number) => view.setUint32(offset, value, true);
  const putWords = (offset: number, values: readonly number[]) => {
    for (const [index, more] of VECTOR_WORDS.entries()) put(offset + more, values[index]);
  };
  put(APIC.taskPriority, state.taskPriority);
  put(APIC.logicalDestination, state.logicalDestination);
  put(APIC.destinationFormat, state.destinationFormat);
  put(APIC.spurious, state.spurious);
  putWords(APIC.inService, state.inService);
  putWords(APIC.triggerMode, state.triggerMode);
  putWords(APIC.requested, state.requested);
  put(APIC.shownErrors, state.shownErrors);
  put(APIC.commandLow, state.commandLow);
  put(APIC.commandHigh, state.commandHigh);
  for (const [index, offset] of LVT.entries()) put(offset, state.lvt[index]);
  put(APIC.initialCount, state.timer.initialCount);
  put(APIC.currentCount, state.timer.currentCount);
  put(APIC.divide, state.timer.divide);
  const deadline = (BigInt(state.timer.tscHigh) << 32n) | BigInt(state.timer.tscLow);
  return { registers, base: BigInt(state.base), deadline };
}

/** read_state and write_state: what the next byte is. */
const NEXT = { low: 1, high: 2, lowOfWord: 3, highOfWord: 4 } as const;
const UNUSED_MODE = 0xff;
const PERIODIC: readonly number[] = [2, 3];
const FULL_COUNT = 0x1_0000;
const HZ = 1_193_182n;
export const PIT_SPEAKER_ON = 2;

/** @param nowNanos of the host's monotonic clock, by which the kernel says when a count was loaded */
export function fromKvmPit({ channels, flags }: KvmPit, nowNanos: bigint): PitState {
  return {
    counters: channels.map((channel) => fromChannel(channel, nowNanos)),
    speaker: (flags & PIT_SPEAKER_ON) !== 0,
  };
}

function fromChannel(channel: PitChannel, nowNanos: bigint): PitCounterState {
  const unused = channel.mode === UNUSED_MODE || channel.count === 0;
  const { rwMode } = channel;
  const access = rwMode >= 1 && rwMode <= 3 ? rwMode : 3;
  const bytes = [channel.latchedCount & 0xff, channel.latchedCount >> 8];
  const latched: Record<number, number[]> = {
    [NEXT.low]: [bytes[0]],
    [NEXT.high]: [bytes[1]],
    [NEXT.lowOfWord]: bytes,
    [NEXT.highOfWord]: [bytes[1]],
  };
  const elapsed = nowNanos - channel.countLoadTime;
  return {
    mode: channel.mode === UNUSED_MODE ? 0 : channel.mode,
    bcd: channel.bcd !== 0,
    access,
    gate: channel.gate !== 0,
    count: unused ? undefined : Math.min(channel.count, FULL_COUNT),
    elapsedNanos: unused || elapsed < 0n ? 0 : Number(elapsed),
    writtenLow: channel.writeState === NEXT.highOfWord ? channel.writeLatch : undefined,
    readHighNext: channel.readState === NEXT.highOfWord,
    latchedStatus: channel.statusLatched ? channel.status : undefined,
    latchedCount: channel.countLatched ? (latched[channel.countLatched] ?? []) : [],
  };
}

/** @param before of the same chip: what is not state */
export function toKvmPit(state: PitState, before: KvmPit): KvmPit {
  const channels = state.counters.map((counter, index) => toChannel(counter, before.channels[index]));
  return { ...before, channels, flags: (before.flags & ~PIT_SPEAKER_ON) | (state.speaker ? PIT_SPEAKER_ON : 0) };
}

function toChannel(counter: PitCounterState, before: PitChannel): PitChannel {
  const { count, access, latchedCount } = counter;
  const elapsedClocks = (BigInt(Math.floor(counter.elapsedNanos)) * HZ) / 1_000_000_000n;
  // The kernel would begin a count that is over, or that was never there, once more, and interrupt.
  const isOver = count === undefined || (!PERIODIC.includes(counter.mode) && elapsedClocks >= BigInt(count));
  const plain = access === 3 ? NEXT.lowOfWord : access;
  const [first = 0, second] = latchedCount;
  // A single byte is the low one only where nothing else is read; of a word, it is the rest.
  const single =
    access === 1
      ? { countLatched: NEXT.low, latchedCount: first }
      : { countLatched: NEXT.high, latchedCount: first << 8 };
  return {
    ...before,
    mode: isOver && counter.writtenLow === undefined ? UNUSED_MODE : counter.mode,
    bcd: counter.bcd ? 1 : 0,
    rwMode: access,
    gate: counter.gate ? 1 : 0,
    count: count ?? FULL_COUNT,
    writeState: counter.writtenLow === undefined ? plain : NEXT.highOfWord,
    writeLatch: counter.writtenLow ?? 0,
    readState: counter.readHighNext ? NEXT.highOfWord : plain,
    statusLatched: counter.latchedStatus === undefined ? 0 : 1,
    status: counter.latchedStatus ?? 0,
    ...(second === undefined ? single : { countLatched: NEXT.lowOfWord, latchedCount: first | (second << 8) }),
    ...(latchedCount.length === 0 ? { countLatched: 0 } : {}),
  };
}

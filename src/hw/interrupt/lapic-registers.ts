/** The local APIC's state and its register rows: Intel SDM vol. 3, tables 11-1 and 11-6. */

import type { StateOf } from '../../base/index.ts';
import { array, bool, stateTable, u8, u32 } from '../../base/index.ts';
import type { LapicTimer } from './lapic-timer.ts';
import { TIMER } from './lapic-timer.ts';
import type { InterruptMessage } from './message.ts';
import { BROADCAST } from './message.ts';
import { vectorSet } from './vectors.ts';

export const APIC_BASE = { address: 0xfee0_0000, bootstrap: 0x100, x2apic: 0x400, enabled: 0x800 } as const;
/** Integrated APIC, six local vectors. */
export const VERSION = 0x0005_0014;
export const SVR_ENABLED = 0x100;
export const ESR = { sendIllegalVector: 0x20, receiveIllegalVector: 0x40, illegalRegister: 0x80 } as const;
/** Indexes of the local vector table. */
export const LVT = { timer: 0, thermal: 1, performance: 2, lint0: 3, lint1: 4, error: 5 } as const;
const LVT_COUNT = 6;

export const LAPIC_STATE = stateTable({
  /** IA32_APIC_BASE, low half. */
  base: u32((APIC_BASE.address | APIC_BASE.enabled) >>> 0),
  taskPriority: u8(),
  logicalDestination: u32(),
  destinationFormat: u32(0xffff_ffff),
  /** Spurious-interrupt vector register. */
  spurious: u32(0xff),
  inService: vectorSet(),
  triggerMode: vectorSet(),
  requested: vectorSet(),
  /** Errors since the last write of ESR, and what that write showed. */
  errors: u8(),
  shownErrors: u8(),
  commandLow: u32(),
  commandHigh: u32(),
  lvt: array(LVT_COUNT, u32(0x1_0000)),
  timer: TIMER,
  lint0Level: bool(),
  lint1Level: bool(),
});
export type LapicState = StateOf<typeof LAPIC_STATE>;

/** What the rows need of the APIC. */
export interface LapicRegisters {
  readonly id: number;
  readonly version: number;
  readonly processorPriority: number;
  readonly state: LapicState;
  readonly timer: LapicTimer;
  inX2apicMode(): boolean;
  logicalId(): number;
  send(message: InterruptMessage, shorthand: number): void;
  endOfInterrupt(): void;
  setSpurious(value: number): void;
  setLocalVector(index: number, value: number): void;
}

export interface RegisterRow {
  readonly name: string;
  /** Writable bits; in MMIO the others are ignored, in an MSR they must be zero. */
  readonly mask: number;
  /** Where the MSR's writable bits are others. */
  readonly x2apicMask?: number;
  /** The only mode that has the register, if not both. */
  readonly mode?: 'xapic' | 'x2apic';
  readonly readOnlyInX2apic?: true;
  read?(apic: LapicRegisters): number;
  write?(apic: LapicRegisters, value: number): void;
  /** The MSR's upper half, where it is more than zero. */
  readHigh?(apic: LapicRegisters): number;
  writeHigh?(apic: LapicRegisters, value: number): void;
}

/** Rows by index: MMIO offset / 16, or MSR − 800h. */
export const REGISTERS: readonly (RegisterRow | undefined)[] = rowTable({
  2: { name: 'id', mask: 0, read: (apic) => (apic.inX2apicMode() ? apic.id : apic.id << 24) },
  3: { name: 'version', mask: 0, read: (apic) => apic.version },
  8: {
    name: 'task priority',
    mask: 0xff,
    read: (apic) => apic.state.taskPriority,
    write: (apic, value) => {
      apic.state.taskPriority = value;
    },
  },
  9: { name: 'arbitration priority', mask: 0, mode: 'xapic', read: () => 0 },
  10: { name: 'processor priority', mask: 0, read: (apic) => apic.processorPriority },
  11: { name: 'end of interrupt', mask: 0xffff_ffff, x2apicMask: 0, write: (apic) => apic.endOfInterrupt() },
  12: { name: 'remote read', mask: 0, mode: 'xapic', read: () => 0 },
  13: {
    name: 'logical destination',
    mask: 0xff00_0000,
    readOnlyInX2apic: true,
    read: (apic) => (apic.inX2apicMode() ? apic.logicalId() : apic.state.logicalDestination),
    write: (apic, value) => {
      apic.state.logicalDestination = value;
    },
  },
  14: {
    name: 'destination format',
    mask: 0xf000_0000,
    mode: 'xapic',
    read: (apic) => apic.state.destinationFormat,
    write: (apic, value) => {
      apic.state.destinationFormat = (value | 0x0fff_ffff) >>> 0;
    },
  },
  15: {
    name: 'spurious vector',
    mask: 0x1ff,
    read: (apic) => apic.state.spurious,
    write: (apic, value) => apic.setSpurious(value),
  },
  ...vectorRows(0x10, 'in service', 'inService'),
  ...vectorRows(0x18, 'trigger mode', 'triggerMode'),
  ...vectorRows(0x20, 'interrupt request', 'requested'),
  40: {
    name: 'error status',
    mask: 0xffff_ffff,
    x2apicMask: 0,
    read: (apic) => apic.state.shownErrors,
    write: (apic) => {
      apic.state.shownErrors = apic.state.errors;
      apic.state.errors = 0;
    },
  },
  48: {
    name: 'interrupt command',
    mask: 0x000c_cfff,
    read: (apic) => apic.state.commandLow,
    readHigh: (apic) => apic.state.commandHigh,
    writeHigh: (apic, value) => {
      apic.state.commandHigh = value;
    },
    write: (apic, value) => writeCommand(apic, value),
  },
  49: {
    name: 'interrupt command, high',
    mask: 0xff00_0000,
    mode: 'xapic',
    read: (apic) => apic.state.commandHigh,
    write: (apic, value) => {
      apic.state.commandHigh = value;
    },
  },
  50: localVectorRow('timer', LVT.timer, 0x7_00ff),
  51: localVectorRow('thermal', LVT.thermal, 0x1_07ff),
  52: localVectorRow('performance', LVT.performance, 0x1_07ff),
  53: localVectorRow('LINT0', LVT.lint0, 0x1_a7ff),
  54: localVectorRow('LINT1', LVT.lint1, 0x1_a7ff),
  55: localVectorRow('error', LVT.error, 0x1_00ff),
  56: {
    name: 'initial count',
    mask: 0xffff_ffff,
    read: (apic) => apic.timer.state.initialCount,
    write: (apic, value) => apic.timer.writeInitialCount(value),
  },
  57: { name: 'current count', mask: 0, read: (apic) => apic.timer.currentCount() },
  62: {
    name: 'divide configuration',
    mask: 0x0b,
    read: (apic) => apic.timer.state.divide,
    write: (apic, value) => apic.timer.writeDivide(value),
  },
  63: {
    name: 'self IPI',
    mask: 0xff,
    mode: 'x2apic',
    write: (apic, value) => sendSelf(apic, value),
  },
});

/** The ICR (figure 11-12; 11-28 for x2APIC). An INIT with level de-assert only once set arbitration ids: it does nothing. */
function writeCommand(apic: LapicRegisters, value: number): void {
  apic.state.commandLow = value;
  const delivery = (value >>> 8) & 7;
  const level = (value & 0x8000) !== 0;
  const asserted = (value & 0x4000) !== 0;
  if (delivery === 5 && level && !asserted) return;
  const logical = (value & 0x800) !== 0;
  const high = apic.state.commandHigh;
  const destination = apic.inX2apicMode() ? high : high >>> 24;
  const broadcast = !apic.inX2apicMode() && !logical && destination === 0xff;
  const message = {
    destination: broadcast ? BROADCAST : destination,
    logical,
    delivery,
    vector: value & 0xff,
    level: false,
  };
  apic.send(message, (value >>> 18) & 3);
}

function sendSelf(apic: LapicRegisters, vector: number): void {
  apic.send({ destination: apic.id, logical: false, delivery: 0, vector, level: false }, 1);
}

function localVectorRow(name: string, index: number, mask: number): RegisterRow {
  return {
    name: `local vector, ${name}`,
    mask,
    read: (apic) => apic.state.lvt[index],
    write: (apic, value) => apic.setLocalVector(index, value),
  };
}

function vectorRows(
  first: number,
  name: string,
  field: 'inService' | 'triggerMode' | 'requested',
): Record<number, RegisterRow> {
  const rows = Array.from({ length: 8 }, (_, i) => {
    const row: RegisterRow = { name: `${name} ${i}`, mask: 0, read: (apic) => apic.state[field][i] };
    return [first + i, row] as const;
  });
  return Object.fromEntries(rows);
}

function rowTable(rows: Record<number, RegisterRow>): (RegisterRow | undefined)[] {
  return Array.from({ length: 0x40 }, (_, index) => rows[index]);
}

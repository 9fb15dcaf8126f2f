/** A stack while a helper builds or takes apart a frame: RSP changes only when the helper commits it. */
import { ss, vector } from '../state.ts';
import { in64, inRealMode, inV86, isCanonical, privilege, RSP, rightsBits } from './context.ts';
import type { X86State } from './cpu.ts';
import { raise } from './fault.ts';
import { type Rights, rights, type SystemPorts } from './ports.ts';

export class Stack {
  /** The stack pointer as it moves. */
  low = 0;
  high = 0;
  /** Width of the stack pointer in bytes; 8 is 64-bit mode's flat stack. */
  width: 2 | 4 | 8 = 8;
  /** What `pop` took. */
  valueLow = 0;
  valueHigh = 0;

  private base = 0;
  private limit = 0;
  private segmentRights = 0;
  private by: Rights = rights.supervisor;
  /** Error code of #SS. */
  private error = 0;
  private readonly cpu: X86State;
  private readonly ports: SystemPorts;

  constructor(cpu: X86State, ports: SystemPorts) {
    this.cpu = cpu;
    this.ports = ports;
  }

  /** The stack of SS:RSP, at the CPL now. */
  openCurrent(error = 0): void {
    const { cpu } = this;
    this.low = cpu.get(RSP);
    this.high = cpu.high(RSP);
    this.by = privilege(cpu) === 3 ? rights.user : rights.supervisor;
    this.error = error;
    if (in64(cpu)) this.width = 8;
    else this.setSegment(cpu.get(ss.base), cpu.get(ss.limit), cpu.get(ss.rights), inRealMode(cpu) || inV86(cpu));
  }

  /** Another stack segment, at CPL `level`; `low` its pointer. */
  openNew(base: number, limit: number, segmentRights: number, low: number, level: number, error: number): void {
    this.low = low;
    this.high = 0;
    this.by = level === 3 ? rights.user : rights.supervisor;
    this.error = error;
    this.setSegment(base, limit, segmentRights, false);
  }

  /** A flat 64-bit stack at CPL `level`. */
  openFlat(low: number, high: number, level: number, error: number): void {
    this.low = low;
    this.high = high;
    this.width = 8;
    this.by = level === 3 ? rights.user : rights.supervisor;
    this.error = error;
  }

  private setSegment(base: number, limit: number, segmentRights: number, is16: boolean): void {
    this.base = base;
    this.limit = limit;
    this.segmentRights = segmentRights;
    this.width = !is16 && segmentRights & rightsBits.D ? 4 : 2;
  }

  push(size: 2 | 4 | 8, low: number, high = 0): void {
    this.move(-size);
    const { ports, by } = this;
    const at = this.address(size);
    if (size === 8) ports.probeWrite(at, this.addressHigh, by, 8);
    if (size === 2) ports.write16(at, this.addressHigh, by, low & 0xffff);
    else ports.write32(at, this.addressHigh, by, low);
    if (size !== 8) return;
    const next = (at + 4) | 0;
    ports.write32(next, next >>> 0 < 4 ? this.addressHigh + 1 : this.addressHigh, by, high);
  }

  /** Pops into `valueLow` and `valueHigh`, zero-extended; returns the low half. */
  pop(size: 2 | 4 | 8): number {
    const value = this.peek(size);
    this.move(size);
    return value;
  }

  /** As `pop` without moving the pointer. */
  peek(size: 2 | 4 | 8): number {
    const { ports, by } = this;
    const at = this.address(size);
    this.valueHigh = 0;
    if (size === 2) return (this.valueLow = ports.read16(at, this.addressHigh, by));
    this.valueLow = ports.read32(at, this.addressHigh, by);
    if (size === 8) {
      const next = (at + 4) | 0;
      this.valueHigh = ports.read32(next, next >>> 0 < 4 ? this.addressHigh + 1 : this.addressHigh, by);
    }
    return this.valueLow;
  }

  /** Throws what a write at the pointer would throw. */
  probe(size: 2 | 4 | 8): void {
    const at = this.address(size);
    this.ports.probeWrite(at, this.addressHigh, this.by, size);
  }

  /** Moves the pointer by a small signed count of bytes. */
  move(bytes: number): void {
    const low = (this.low + bytes) | 0;
    if (this.width === 2) {
      this.low = (this.low & ~0xffff) | (low & 0xffff);
      return;
    }
    if (this.width === 8) {
      if (bytes < 0) this.high = (this.high - (this.low >>> 0 < -bytes ? 1 : 0)) | 0;
      else this.high = (this.high + (low >>> 0 < bytes ? 1 : 0)) | 0;
    }
    this.low = low;
  }

  /** Writes RSP, ESP or SP by the width of this stack. */
  commit(): void {
    const { cpu } = this;
    if (this.width === 8) cpu.setPair(RSP, this.low, this.high);
    else if (this.width === 4) cpu.setLow(RSP, this.low);
    else cpu.set(RSP, (cpu.get(RSP) & ~0xffff) | (this.low & 0xffff));
  }

  private addressHigh = 0;

  /** Linear address of the `size` bytes at the pointer: low half returned, high half in `addressHigh`. #SS beyond the limit. */
  private address(size: number): number {
    if (this.width === 8) {
      if (!isCanonical(this.cpu, this.high)) raise(vector.SS, this.error);
      this.addressHigh = this.high;
      return this.low;
    }
    this.addressHigh = 0;
    const offset = (this.width === 2 ? this.low & 0xffff : this.low) >>> 0;
    if (!withinLimit(offset, size, this.limit >>> 0, this.segmentRights)) raise(vector.SS, this.error);
    return (this.base + offset) | 0;
  }
}

/** Whether `size` bytes at `offset` lie within a segment (expand-down segments: above the limit). */
export function withinLimit(offset: number, size: number, limit: number, segmentRights: number): boolean {
  const last = offset + size - 1;
  const expandDown = (segmentRights & 0x1c) === (rightsBits.S | rightsBits.conforming);
  if (!expandDown) return last <= limit;
  return offset > limit && last <= (segmentRights & rightsBits.D ? 0xffff_ffff : 0xffff);
}

/** Segment descriptors as they lie in the GDT and the LDT (SDM vol. 3, 3.4.5 and 3.5). */
import { gdtr, ldtr, type SegmentFields, vector } from '../state.ts';
import { rightsBits } from './context.ts';
import type { X86State } from './cpu.ts';
import { raise } from './fault.ts';
import { rights, type SystemPorts } from './ports.ts';

export class Descriptor {
  low = 0;
  high = 0;
  /** Bits 63:32 of the base or of the offset: long-mode system descriptors only. */
  upper = 0;
  /** Linear address of the descriptor. */
  private addressLow = 0;
  private addressHigh = 0;

  private readonly cpu: X86State;
  private readonly ports: SystemPorts;

  constructor(cpu: X86State, ports: SystemPorts) {
    this.cpu = cpu;
    this.ports = ports;
  }

  /** Finds and reads the descriptor of a non-null selector; false: beyond its table's limit. */
  tryRead(selector: number): boolean {
    if (!this.locate(selector, 7)) return false;
    this.low = this.ports.read32(this.addressLow, this.addressHigh, rights.implicit);
    this.high = this.readWord(4);
    this.upper = 0;
    return true;
  }

  /** As `tryRead`; raises `faultVector` with the selector (and `ext`) as its error code. */
  read(selector: number, faultVector: number = vector.GP, ext = 0): void {
    if (!this.tryRead(selector)) raise(faultVector, selectorError(selector, ext));
  }

  /** Reads the second eight bytes of a 16-byte descriptor; they must lie within the table and have type 0. */
  readUpper(selector: number, faultVector: number = vector.GP): void {
    if (!this.tryReadUpper(selector)) raise(faultVector, selectorError(selector));
  }

  tryReadUpper(selector: number): boolean {
    if (!this.locate(selector, 15)) return false;
    this.upper = this.readWord(8);
    return (this.readWord(12) & 0x1f00) === 0;
  }

  private readWord(offset: number): number {
    const low = (this.addressLow + offset) | 0;
    const high = low >>> 0 < offset ? this.addressHigh + 1 : this.addressHigh;
    return this.ports.read32(low, high, rights.implicit);
  }

  private locate(selector: number, lastByte: number): boolean {
    const { cpu } = this;
    const index = selector & 0xfff8;
    const isLocal = (selector & 4) !== 0;
    if (isLocal && cpu.get(ldtr.rights) & rightsBits.unusable) return false;
    if (index + lastByte > cpu.get(isLocal ? ldtr.limit : gdtr.limit) >>> 0) return false;
    const base = isLocal ? ldtr.base : gdtr.base;
    const low = (cpu.get(base) + index) | 0;
    this.addressLow = low;
    this.addressHigh = low >>> 0 < index ? cpu.high(base) + 1 : cpu.high(base);
    return true;
  }

  /** Sets the accessed bit of a code or data descriptor in memory. */
  markAccessed(): void {
    if (this.high & 0x100) return;
    this.high |= 0x100;
    this.writeHigh();
  }

  /** Marks a TSS descriptor in memory busy or available. */
  setBusy(busy: boolean): void {
    this.high = busy ? this.high | 0x200 : this.high & ~0x200;
    this.writeHigh();
  }

  private writeHigh(): void {
    const low = (this.addressLow + 4) | 0;
    const high = low >>> 0 < 4 ? this.addressHigh + 1 : this.addressHigh;
    this.ports.write32(low, high, rights.implicit, this.high);
  }

  /** In the format of state `SegmentFields.rights`. */
  get rights(): number {
    return (this.high >>> 8) & 0xf0ff;
  }
  /** Type and S bit: 0 to 31. */
  get type(): number {
    return (this.high >>> 8) & 0x1f;
  }
  get dpl(): number {
    return (this.high >>> 13) & 3;
  }
  get isPresent(): boolean {
    return (this.high & 0x8000) !== 0;
  }
  get isCode(): boolean {
    return (this.high & 0x1800) === 0x1800;
  }
  get isConforming(): boolean {
    return (this.high & 0x1c00) === 0x1c00;
  }
  get isWritableData(): boolean {
    return (this.high & 0x1a00) === 0x1200;
  }
  get isReadable(): boolean {
    return (this.high & 0x1000) !== 0 && (this.high & 0xa00) !== 0x800;
  }
  get isLong(): boolean {
    return (this.high & 0x20_0000) !== 0;
  }
  get isBig(): boolean {
    return (this.high & 0x40_0000) !== 0;
  }
  get base(): number {
    return (this.low >>> 16) | ((this.high & 0xff) << 16) | (this.high & 0xff00_0000);
  }
  /** Last valid offset as int32, granularity applied. */
  get limit(): number {
    const raw = (this.low & 0xffff) | (this.high & 0xf_0000);
    return this.high & 0x80_0000 ? (raw << 12) | 0xfff : raw;
  }

  /** Fills a segment register. */
  loadInto(cpu: X86State, segment: SegmentFields, selector: number): void {
    cpu.set(segment.selector, selector);
    cpu.set(segment.rights, this.rights);
    cpu.set(segment.limit, this.limit);
    cpu.setPair(segment.base, this.base, this.upper);
  }
}

/** A selector as an error code. */
export function selectorError(selector: number, ext = 0): number {
  return (selector & 0xfffc) | ext;
}

/** Null: index 0 of the GDT, whatever the RPL. */
export function isNull(selector: number): boolean {
  return (selector & 0xfffc) === 0;
}

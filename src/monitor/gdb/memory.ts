/** The debugged guest's memory by linear address, its breakpoints hidden. */
import { UserError } from '../../base/index.ts';
import type { Machine } from '../../machine/index.ts';
import { BREAKPOINTS_MAX } from '../../machine/index.ts';
import type { X86CpuRecord } from '../../target/index.ts';
import { translate } from './paging.ts';

const PAGE_BYTES = 4096;
const INT3 = 0xcc;
const LINEAR_MASK = 0xffff_ffff_ffff_ffffn;

interface Breakpoint {
  readonly address: number;
  readonly original: number;
}

export class DebuggedMemory {
  readonly #machine: Machine;
  /** By linear address. */
  readonly #breakpoints = new Map<bigint, Breakpoint>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** As much as is mapped, from `linear` on; undefined when not even the first byte is. */
  async read(cpu: X86CpuRecord, linear: bigint, length: number): Promise<Uint8Array | undefined> {
    const bytes = new Uint8Array(length);
    let done = 0;
    for (const { at, address, count } of pieces(linear, length)) {
      const physical = await this.#physical(cpu, address);
      const piece = physical === undefined ? undefined : await this.#readPhysical(physical, count);
      if (piece === undefined || physical === undefined) break;
      for (const breakpoint of this.#breakpoints.values()) {
        const inside = breakpoint.address - physical;
        if (inside >= 0 && inside < count) piece[inside] = breakpoint.original;
      }
      bytes.set(piece, at);
      done = at + count;
    }
    return done === 0 && length > 0 ? undefined : bytes.subarray(0, done);
  }

  /** False when some of it is not mapped; what came before is written. */
  async write(cpu: X86CpuRecord, linear: bigint, bytes: Uint8Array): Promise<boolean> {
    for (const { at, address, count } of pieces(linear, bytes.length)) {
      const physical = await this.#physical(cpu, address);
      if (physical === undefined) return false;
      if (!(await this.#writePhysical(physical, bytes.slice(at, at + count)))) return false;
    }
    return true;
  }

  /** Puts an INT3 there; false when nothing is mapped. */
  async insert(cpu: X86CpuRecord, linear: bigint): Promise<boolean> {
    if (this.#breakpoints.has(linear)) return true;
    if (this.#breakpoints.size >= BREAKPOINTS_MAX) return false;
    const address = await this.#physical(cpu, linear);
    const original = address === undefined ? undefined : (await this.#readPhysical(address, 1))?.[0];
    if (address === undefined || original === undefined) return false;
    if (!(await this.#writePhysical(address, Uint8Array.of(INT3)))) return false;
    this.#breakpoints.set(linear, { address, original });
    await this.#tell();
    return true;
  }

  async remove(linear: bigint): Promise<void> {
    const breakpoint = this.#breakpoints.get(linear);
    if (breakpoint === undefined) return;
    this.#breakpoints.delete(linear);
    // The guest may have written other code there meanwhile.
    const [now] = (await this.#readPhysical(breakpoint.address, 1)) ?? [];
    if (now === INT3) await this.#writePhysical(breakpoint.address, Uint8Array.of(breakpoint.original));
    await this.#tell();
  }

  async removeAll(): Promise<void> {
    for (const linear of [...this.#breakpoints.keys()]) await this.remove(linear);
  }

  #tell(): Promise<undefined> {
    return this.#machine.command('set-breakpoints', [...this.#breakpoints.keys()]);
  }

  #physical(cpu: X86CpuRecord, linear: bigint): Promise<number | undefined> {
    return translate(cpu, linear, async (address, count) => {
      const bytes = await this.#readPhysical(address, count);
      return bytes?.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
    });
  }

  async #readPhysical(address: number, length: number): Promise<Uint8Array | undefined> {
    try {
      return await this.#machine.command('read-memory', { address, length });
    } catch (error) {
      if (error instanceof UserError) return undefined;
      throw error;
    }
  }

  async #writePhysical(address: number, bytes: Uint8Array): Promise<boolean> {
    try {
      await this.#machine.command('write-memory', { address, bytes });
      return true;
    } catch (error) {
      if (error instanceof UserError) return false;
      throw error;
    }
  }
}

/** A range in pieces that lie in one page each. */
function* pieces(linear: bigint, length: number) {
  for (let at = 0; at < length; ) {
    const address = (linear + BigInt(at)) & LINEAR_MASK;
    const count = Math.min(length - at, PAGE_BYTES - Number(address & 0xfffn));
    yield { at, address, count };
    at += count;
  }
}

/**
 * What the system side needs from the engine. Linear addresses are two int32
 * halves; outside 64-bit mode the high half is 0. A linear access that is not
 * allowed throws CpuFault(#PF) with state `faultAddress` set, before anything
 * is written.
 */
import type { AccessSize, LocalApic } from '../../../contract/index.ts';

/**
 * Whose rights a linear access has (SDM vol. 3, 4.6): `implicit` are the CPU's own accesses to
 * descriptor tables and task state, for which EFLAGS.AC does not lift SMAP.
 */
export const rights = { supervisor: 0, implicit: 1, user: 2 } as const;
export type Rights = (typeof rights)[keyof typeof rights];

export interface SystemPorts {
  /** Unsigned; may cross pages. */
  read8(low: number, high: number, by: Rights): number;
  read16(low: number, high: number, by: Rights): number;
  /** As int32. */
  read32(low: number, high: number, by: Rights): number;
  write8(low: number, high: number, by: Rights, value: number): void;
  write16(low: number, high: number, by: Rights, value: number): void;
  write32(low: number, high: number, by: Rights, value: number): void;
  /** Copies `length` bytes (at most a page) between guest memory and the start of `bytes`; a write checks all of it first. */
  readBytes(low: number, high: number, by: Rights, bytes: Uint8Array, length: number): void;
  writeBytes(low: number, high: number, by: Rights, bytes: Uint8Array, length: number): void;
  /** Throws what a write of these bytes would throw. */
  probeWrite(low: number, high: number, by: Rights, length: number): void;

  /** Page-table access by guest physical address (a 4-byte aligned number below 2^52), as int32; what is not RAM reads as -1. */
  readPhysical32(address: number): number;
  /** ORs `bits` into a 32-bit word of a page table, atomically. */
  setPhysicalBits(address: number, bits: number): void;

  /** Forgets translations of all PCIDs; `keepGlobal` spares those of global pages. */
  flushTlb(keepGlobal: boolean): void;
  /** Forgets the translations of one PCID that are not global. */
  flushContext(pcid: number): void;
  /** CR3 was loaded: the translations in use are those of `pcid`; what it had is forgotten unless `keep`. */
  enterContext(pcid: number, keep: boolean): void;
  /** Forgets the translation of the page around a linear address under all PCIDs, large pages wholly. */
  flushPage(low: number, high: number): void;
  /**
   * Something that decoding, privilege or paging rights depend on has changed: CPL, CR0, CR4, EFER, XCR0, EFLAGS.VM, AC
   * or TF, DR7, or a segment (outside 64-bit mode).
   */
  modeChanged(): void;

  portIn(port: number, size: AccessSize): number;
  portOut(port: number, size: AccessSize, value: number): void;
  readonly apic: LocalApic;
  /** Ticks of the TSC's clock since the machine started, whole, below 2^53; runs at `tscHertz`. */
  readTsc(): number;
  readonly tscHertz: number;
  /** From here on it runs at this rate. */
  setTscHertz(hertz: number): void;
  /** 32 random bits as int32. */
  random(): number;
}

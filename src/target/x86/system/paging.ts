/**
 * The page-table walker: 32-bit paging with 4-MiB pages and PSE-36, PAE, 4-level
 * and 5-level paging (SDM vol. 3, chapter 4), with accessed and dirty bits.
 *
 * A walk leaves its result in the walker's fields, so that a TLB miss
 * allocates nothing.
 */
import { a20Mask, cr0, cr3, cr4, efer, eflags, flag } from '../state.ts';
import { cr0Bits, cr4Bits, eferBits } from './context.ts';
import type { X86State } from './cpu.ts';
import type { SystemPorts } from './ports.ts';

/** What an access is, as bits of the #PF error code; `implicit` (SMAP whatever EFLAGS.AC) is ours. */
export const pageAccess = { write: 2, user: 4, fetch: 16, implicit: 256 } as const;

/** Bits of an entry of the tables. */
export const pageEntry = {
  present: 1,
  writable: 2,
  user: 4,
  accessed: 0x20,
  dirty: 0x40,
  large: 0x80,
  global: 0x100,
} as const;
const { present, writable, user: userBit, accessed, dirty, large, global: globalBit } = pageEntry;
/** A bit of the #PF error code: a reserved bit is set in the tables. */
export const reservedError = 8;
const highUnit = 0x1_0000_0000;

export class PageWalker {
  /** Guest physical address of the 4-KiB page. */
  page = 0;
  /** What the privilege of the access may do with the page; `canWrite` only once its dirty bit is set. */
  canRead = false;
  canWrite = false;
  canExecute = false;
  /** Survives a CR3 load. */
  isGlobal = false;
  /** log2 of the size of the page in the tables: 12, 21, 22 or 30. */
  sizeBits = 12;
  /** #PF error code when the walk failed. */
  error = 0;

  private readonly cpu: X86State;
  private readonly ports: SystemPorts;
  /** Reserved bits in the high half of an entry: those above the physical address width. */
  private readonly reservedHigh: number;
  private readonly hasGigabytePages: boolean;
  private readonly entryAddress = new Float64Array(5);
  private readonly entryLow = new Int32Array(5);
  private entries = 0;

  /** @param physicalBits width of physical addresses, 32 to 52 */
  constructor(cpu: X86State, ports: SystemPorts, physicalBits: number, hasGigabytePages: boolean) {
    this.cpu = cpu;
    this.ports = ports;
    this.reservedHigh = physicalBits <= 32 ? 0xf_ffff : 0xf_ffff & ~((1 << (physicalBits - 32)) - 1);
    this.hasGigabytePages = hasGigabytePages;
  }

  /**
   * Translates a canonical linear address for an access (bits of `pageAccess`);
   * false: page fault with `error`. Sets accessed bits, and the dirty bit for a write.
   */
  walk(low: number, high: number, access: number): boolean {
    const { cpu } = this;
    this.entries = 0;
    if ((cpu.get(cr0) & cr0Bits.PG) === 0) return this.identity(low);
    if ((cpu.get(cr4) & cr4Bits.PAE) === 0) return this.walk32(low, access);
    if ((cpu.get(efer) & eferBits.LMA) === 0) return this.walkPae(low, access);
    const levels = (cpu.get(cr4) & cr4Bits.LA57) !== 0 ? 5 : 4;
    return this.walkWide(low, high, access, levels - 1, this.tableBase(0xffff_f000));
  }

  private identity(low: number): boolean {
    this.page = (low & 0xffff_f000 & this.cpu.get(a20Mask)) >>> 0;
    this.canRead = this.canWrite = this.canExecute = true;
    this.isGlobal = false;
    this.sizeBits = 12;
    return true;
  }

  private tableBase(mask: number): number {
    const base = (this.cpu.get(cr3) & mask) >>> 0;
    return base + (this.cpu.high(cr3) & 0xf_ffff) * highUnit;
  }

  /** Reads the low half of an entry and remembers the entry for its A and D bits. */
  private readEntry(address: number): number {
    const masked = this.maskA20(address);
    const low = this.ports.readPhysical32(masked);
    this.entryAddress[this.entries] = masked;
    this.entryLow[this.entries++] = low;
    return low;
  }

  private maskA20(address: number): number {
    if (this.cpu.get(a20Mask) === -1) return address;
    return address - (Math.floor(address / 0x10_0000) % 2) * 0x10_0000;
  }

  private walk32(low: number, access: number): boolean {
    const pse = (this.cpu.get(cr4) & cr4Bits.PSE) !== 0;
    const directory = this.readEntry(((this.cpu.get(cr3) & 0xffff_f000) >>> 0) + ((low >>> 22) << 2));
    if ((directory & present) === 0) return this.fail(access, 0);
    if (pse && directory & large) {
      // PSE-36: bits 20:13 are address bits 39:32, as far as the CPU has them.
      const reserved = (1 << 21) | ((this.reservedHigh & 0xff) << 13);
      if (directory & reserved) return this.fail(access, present | reservedError);
      const base = ((directory & 0xffc0_0000) >>> 0) + ((directory >>> 13) & 0xff) * highUnit;
      return this.finish(access, base + (low & 0x3f_f000), 22, directory, 0, directory);
    }
    const entry = this.readEntry(((directory & 0xffff_f000) >>> 0) + (((low >>> 12) & 0x3ff) << 2));
    if ((entry & present) === 0) return this.fail(access, 0);
    return this.finish(access, (entry & 0xffff_f000) >>> 0, 12, directory & entry, 0, entry);
  }

  /** PAE: the page-directory-pointer entries carry no rights and no accessed bit. */
  private walkPae(low: number, access: number): boolean {
    const address = this.maskA20(((this.cpu.get(cr3) & 0xffff_ffe0) >>> 0) + ((low >>> 30) << 3));
    const entryLow = this.ports.readPhysical32(address);
    if ((entryLow & present) === 0) return this.fail(access, 0);
    const entryHigh = this.ports.readPhysical32(address + 4);
    if (entryLow & 0x1e6 || entryHigh & (this.reservedHigh | ~0xf_ffff))
      return this.fail(access, present | reservedError);
    return this.walkWide(low, 0, access, 1, ((entryLow & 0xffff_f000) >>> 0) + entryHigh * highUnit);
  }

  /** Levels of 512 eight-byte entries, from `level` (4 PML5 … 0 page table) down. */
  private walkWide(low: number, high: number, access: number, topLevel: number, root: number): boolean {
    const { cpu, ports } = this;
    let reservedHigh = this.reservedHigh;
    if ((cpu.get(efer) & eferBits.NXE) === 0) reservedHigh |= 1 << 31;
    if ((cpu.get(efer) & eferBits.LMA) === 0) reservedHigh |= 0x7ff0_0000;
    let table = root;
    let rights = -1;
    let highOr = 0;
    for (let level = topLevel; ; level--) {
      const address = table + (levelIndex(level, low, high) << 3);
      const entryLow = this.readEntry(address);
      if ((entryLow & present) === 0) return this.fail(access, 0);
      const entryHigh = ports.readPhysical32(this.maskA20(address + 4));
      if (entryHigh & reservedHigh) return this.fail(access, present | reservedError);
      rights &= entryLow;
      highOr |= entryHigh;
      table = ((entryLow & 0xffff_f000) >>> 0) + (entryHigh & 0xf_ffff) * highUnit;
      if (level === 0) return this.finish(access, table, 12, rights, highOr, entryLow);
      if ((entryLow & large) === 0) continue;
      if (level > 2 || (level === 2 && !this.hasGigabytePages)) return this.fail(access, present | reservedError);
      const offsetMask = level === 1 ? 0x1f_f000 : 0x3fff_f000;
      // Bit 12 is the PAT bit; the address bits above it, within the page, are reserved.
      if (entryLow & offsetMask & ~0x1000) return this.fail(access, present | reservedError);
      const base = ((entryLow & 0xffff_f000 & ~offsetMask) >>> 0) + (entryHigh & 0xf_ffff) * highUnit;
      return this.finish(access, base + (low & offsetMask), level === 1 ? 21 : 30, rights, highOr, entryLow);
    }
  }

  /** Checks rights (SDM vol. 3, 4.6), sets A and D, and publishes the translation. */
  private finish(
    access: number,
    page: number,
    sizeBits: number,
    rightsAnd: number,
    highOr: number,
    leaf: number,
  ): boolean {
    const { cpu } = this;
    const isUserPage = (rightsAnd & userBit) !== 0;
    const executable = highOr >= 0 || (cpu.get(efer) & eferBits.NXE) === 0;
    let mayWrite = (rightsAnd & writable) !== 0;
    if (access & pageAccess.user) {
      this.canRead = isUserPage;
      mayWrite = mayWrite && isUserPage;
      this.canExecute = isUserPage && executable;
    } else {
      const cr4Value = cpu.get(cr4);
      const smap =
        isUserPage &&
        (cr4Value & cr4Bits.SMAP) !== 0 &&
        ((access & pageAccess.implicit) !== 0 || (cpu.get(eflags) & flag.AC) === 0);
      this.canRead = !smap;
      mayWrite = !smap && (mayWrite || (cpu.get(cr0) & cr0Bits.WP) === 0);
      this.canExecute = executable && !(isUserPage && (cr4Value & cr4Bits.SMEP) !== 0);
    }
    const allowed = access & pageAccess.fetch ? this.canExecute : access & pageAccess.write ? mayWrite : this.canRead;
    if (!allowed) return this.fail(access, present);
    const isWrite = (access & pageAccess.write) !== 0;
    this.markAccessed(isWrite);
    this.canWrite = mayWrite && (isWrite || (leaf & dirty) !== 0);
    this.isGlobal = (leaf & globalBit) !== 0 && (cpu.get(cr4) & cr4Bits.PGE) !== 0;
    this.sizeBits = sizeBits;
    this.page = this.maskA20(page);
    return true;
  }

  private markAccessed(isWrite: boolean): void {
    const last = this.entries - 1;
    for (let i = 0; i <= last; i++) {
      const wanted = i === last && isWrite ? accessed | dirty : accessed;
      if ((this.entryLow[i] & wanted) !== wanted) this.ports.setPhysicalBits(this.entryAddress[i], wanted);
    }
  }

  private fail(access: number, cause: number): false {
    const { cpu } = this;
    let error = cause | (access & (pageAccess.write | pageAccess.user));
    const nxe = (cpu.get(cr4) & cr4Bits.PAE) !== 0 && (cpu.get(efer) & eferBits.NXE) !== 0;
    if (access & pageAccess.fetch && (nxe || (cpu.get(cr4) & cr4Bits.SMEP) !== 0)) error |= pageAccess.fetch;
    this.error = error;
    return false;
  }
}

function levelIndex(level: number, low: number, high: number): number {
  switch (level) {
    case 0:
      return (low >>> 12) & 511;
    case 1:
      return (low >>> 21) & 511;
    case 2:
      return ((low >>> 30) | (high << 2)) & 511;
    case 3:
      return (high >>> 7) & 511;
    default:
      return (high >>> 16) & 511;
  }
}

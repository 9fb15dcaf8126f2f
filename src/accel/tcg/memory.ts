/** Guest RAM inside the engine's memory. */
import type { GuestMemory, RamRange } from '../../contract/index.ts';
import { TcgDirtyLog } from './dirty-log.ts';
import { maxRamBytes, ramBase } from './layout.ts';

export class TcgMemory implements GuestMemory {
  readonly memory: WebAssembly.Memory;
  readonly pages: { readonly initial: number; readonly maximum: number };
  readonly buffer: SharedArrayBuffer;
  readonly ranges: readonly RamRange[];
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly dirtyLog: TcgDirtyLog;
  /** Called with each range that changed from outside generated code. */
  onWritten: (base: number, length: number) => void = () => {};

  /** @param ranges guest physical ranges of RAM, 4-KiB aligned, ascending; at most `maxRamBytes` in all */
  constructor(ranges: readonly { readonly base: number; readonly size: number }[]) {
    let offset = ramBase;
    this.ranges = ranges.map(({ base, size }) => {
      const range = { base, size, offset };
      offset += size;
      return range;
    });
    this.size = offset - ramBase;
    if (this.size > maxRamBytes) throw new Error(`guest RAM of ${this.size} bytes is over the limit of ${maxRamBytes}`);
    const count = Math.ceil(offset / 0x1_0000);
    this.pages = { initial: count, maximum: count };
    this.memory = new WebAssembly.Memory({ ...this.pages, shared: true });
    this.buffer = this.memory.buffer as SharedArrayBuffer;
    this.bytes = new Uint8Array(this.buffer);
    this.dirtyLog = new TcgDirtyLog(ramBase, this.size);
  }

  /** Engine address of a guest physical address, or -1 where there is no RAM. */
  hostAddress(physical: number): number {
    for (const range of this.ranges) {
      const within = physical - range.base;
      if (within >= 0 && within < range.size) return range.offset + within;
    }
    return -1;
  }

  view(base: number, length: number): Uint8Array | undefined {
    const range = this.ranges.find((r) => base >= r.base && base + length <= r.base + r.size);
    if (!range || length < 0) return undefined;
    const start = range.offset + (base - range.base);
    return this.bytes.subarray(start, start + length);
  }

  written(base: number, length: number): void {
    if (this.dirtyLog.isOn && length > 0) this.dirtyLog.note(this.hostAddress(base), length);
    this.onWritten(base, length);
  }
}

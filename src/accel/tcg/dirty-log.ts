/**
 * Which pages of RAM change. While the log is on, no page has write permission in the TLBs before it is noted: its first
 * write goes the slow way.
 */
import type { DirtyLog } from '../../contract/index.ts';

const pageShift = 12;

export class TcgDirtyLog implements DirtyLog {
  isOn = false;
  /** Withdraws write permission from all pages in the TLBs. */
  onForget: () => void = () => {};
  private readonly base: number;
  private readonly noted: Uint8Array;

  /** @param base engine address of RAM, whose ranges follow each other */
  constructor(base: number, sizeBytes: number) {
    this.base = base;
    this.noted = new Uint8Array(Math.ceil(sizeBytes / 4096 / 8));
  }

  start(): void {
    this.isOn = true;
    this.noted.fill(0);
    this.onForget();
  }

  take(bitmap: Uint8Array): number {
    const { noted } = this;
    let count = 0;
    for (let i = 0; i < noted.length; i++) {
      const bits = noted[i];
      if (bits === 0) continue;
      bitmap[i] |= bits;
      for (let left = bits; left !== 0; left &= left - 1) count++;
    }
    noted.fill(0);
    this.onForget();
    return count;
  }

  stop(): void {
    this.isOn = false;
  }

  /** The page at this engine address may be written without being noted. */
  permits(host: number): boolean {
    if (!this.isOn) return true;
    const page = (host - this.base) >>> pageShift;
    return (this.noted[page >>> 3] & (1 << (page & 7))) !== 0;
  }

  /** Bytes from this engine address on are written. */
  note(host: number, length: number): void {
    if (!this.isOn) return;
    const last = (host + length - 1 - this.base) >>> pageShift;
    for (let page = (host - this.base) >>> pageShift; page <= last; page++) this.noted[page >>> 3] |= 1 << (page & 7);
  }
}

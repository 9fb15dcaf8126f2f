/** A small seeded generator of random numbers: the same seed and stream give the same numbers everywhere. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  /** @param stream Numbers of one seed's streams are independent of each other. */
  constructor(seed: number, stream: number) {
    this.a = seed | 0;
    this.b = stream | 0;
    this.c = (seed ^ Math.imul(stream, 0x9e37_79b9)) | 0;
    for (let i = 0; i < 12; i++) this.u32();
  }

  /** Unsigned 32 bits (Doty-Humphrey's sfc32). */
  u32(): number {
    const sum = (this.a + this.b + this.counter++) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return this.u32() % n;
  }

  /** True in `percent` of all calls. */
  chance(percent: number): boolean {
    return this.u32() % 1000 < percent * 10;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.u32() % list.length];
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) out[i] = this.u32() >>> 24;
    return out;
  }
}

/** What every device must hold, whatever it is: the suite that each device's tests run. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateError } from '../../base/index.ts';
import type { AccessSize, BusDevice, Device, DeviceRecord } from '../../contract/index.ts';

export interface DeviceUnderTest {
  readonly device: Device;
  /** Its register windows, in bytes. */
  readonly windows: readonly { readonly device: BusDevice; readonly size: number }[];
  /** Lets time pass for devices that have any. */
  advance?(nanos: number): void;
}

export interface SuiteOptions {
  /** Fields that a reset leaves alone, with the reason. */
  readonly keptOverReset?: Readonly<Record<string, string>>;
  /** Fields that earlier versions' records lack (`added` in base/state.ts). */
  readonly added?: readonly string[];
}

export function deviceStateSuite(name: string, make: () => DeviceUnderTest, options: SuiteOptions = {}): void {
  const kept = Object.keys(options.keptOverReset ?? {});

  test(`${name}: reset equals the power-up state`, () => {
    const { seed, random } = seededRandom();
    const fresh = make();
    const initial = fresh.device.snapshot();
    traffic(fresh, random, 300);
    fresh.device.reset();
    assert.deepEqual(without(fresh.device.snapshot(), kept), without(initial, kept), `seed ${seed}`);
  });

  test(`${name}: restore brings back what snapshot saw`, () => {
    const { seed, random } = seededRandom();
    const subject = make();
    traffic(subject, random, 300);
    const before = subject.device.snapshot();
    traffic(subject, random, 300);
    subject.device.restore(before);
    assert.deepEqual(subject.device.snapshot(), before, `seed ${seed}`);
    const other = make();
    other.device.restore(before);
    assert.deepEqual(other.device.snapshot(), before, `seed ${seed}, in a fresh device`);
  });

  test(`${name}: a record with a missing, a strange or an extra field is refused by name`, () => {
    const { device } = make();
    const record = device.snapshot();
    assert.throws(() => device.restore({ ...record, extra: 1 }), namesField('extra'));
    for (const field of Object.keys(record)) {
      if (options.added?.includes(field)) device.restore(without(record, [field]));
      else assert.throws(() => device.restore(without(record, [field])), namesField(field));
      assert.throws(() => device.restore({ ...record, [field]: 'nonsense' }), namesField(field));
    }
    assert.deepEqual(device.snapshot(), record);
  });

  test(`${name}: random register traffic never throws, and reads fit their width`, () => {
    const { seed, random } = seededRandom();
    try {
      traffic(make(), random, 5000);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  });
}

/** Random reads, writes and passing time. */
function traffic(subject: DeviceUnderTest, random: () => number, steps: number): void {
  for (let i = 0; i < steps; i++) {
    const window = subject.windows[Math.floor(random() * subject.windows.length)];
    const size = ([1, 1, 2, 4] as const)[Math.floor(random() * 4)] as AccessSize;
    if (size > window.size) continue;
    const offset = Math.floor(random() * (window.size - size + 1));
    const aligned = random() < 0.9 ? offset - (offset % size) : offset;
    if (random() < 0.5) {
      window.device.write(aligned, size, Math.floor(random() * 2 ** (size * 8)));
    } else {
      const value = window.device.read(aligned, size);
      assert.ok(
        Number.isInteger(value) && value >>> 0 < 2 ** (size * 8),
        `read of ${size} at ${aligned} gave ${value}`,
      );
    }
    if (random() < 0.2) subject.advance?.(Math.floor(random() * 1_000_000));
  }
}

function without(record: DeviceRecord, fields: readonly string[]): DeviceRecord {
  return Object.fromEntries(Object.entries(record).filter(([name]) => !fields.includes(name)));
}

function namesField(field: string): (error: unknown) => boolean {
  return (error) => error instanceof StateError && error.field.startsWith(field);
}

/** mulberry32; VIREO_SEED gives another seed than 1, and failures print it. */
export function seededRandom(): { seed: number; random: () => number } {
  const seed = Number(process.env.VIREO_SEED ?? 1) >>> 0;
  let state = seed;
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { seed, random };
}

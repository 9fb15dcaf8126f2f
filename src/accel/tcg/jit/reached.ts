/**
 * What is known, along a path of a region, of guest addresses: which values differ by a constant, and the
 * engine addresses of accesses that were looked up. An access near one that was looked up needs no TLB.
 */
import type { Expr, Variable } from '../../../target/index.ts';

/** A value as an unknown one, which the key names, and a distance from it. */
export interface Place {
  readonly key: string;
  readonly displacement: number;
}

/** An access that was looked up: its engine address, and that within its page. */
export interface Reach {
  readonly displacement: number;
  readonly size: number;
  readonly isWritable: boolean;
  readonly host: Variable;
  readonly inPage: Variable;
}

/** Beyond this, distances are not kept as numbers. */
const farthest = 2 ** 46;
/** Keys grow with the length of address computations; longer ones are not worth their while. */
const longestKey = 60;
const longKey = (key: string): boolean => key.length > longestKey;

export class Reached {
  /** What registers hold, by state offset. */
  private readonly registers: Map<number, Place>;
  private readonly reaches: Map<string, Reach>;
  /** Gives each unknown value its name. */
  private readonly names: { next: number };

  constructor(names: { next: number }, registers = new Map<number, Place>(), reaches = new Map<string, Reach>()) {
    this.names = names;
    this.registers = registers;
    this.reaches = reaches;
  }

  /** For one of several ways that the path goes on. */
  copy(): Reached {
    return new Reached(this.names, new Map(this.registers), new Map(this.reaches));
  }

  /** What the register at a state offset holds. */
  register(offset: number): Place {
    let place = this.registers.get(offset);
    if (!place) {
      place = { key: `v${this.names.next++}`, displacement: 0 };
      this.registers.set(offset, place);
    }
    return place;
  }

  /** The register at a state offset was written. */
  write(offset: number, place: Place | undefined): void {
    if (place) this.registers.set(offset, place);
    else this.registers.delete(offset);
  }

  /** Addresses may lead elsewhere than before. */
  forget(): void {
    this.reaches.clear();
  }

  near(place: Place): Reach | undefined {
    return this.reaches.get(place.key);
  }

  /** @param locals pairs of variables, of which the longest unused ones are taken */
  add(place: Place, size: number, isWritable: boolean, locals: readonly LocalPair[]): Reach {
    const kept = [...this.reaches].filter(([key]) => key !== place.key).slice(1 - locals.length);
    const [host, inPage] = locals.find(([local]) => kept.every(([, reach]) => reach.host !== local)) as LocalPair;
    const reach = { displacement: place.displacement, size, isWritable, host, inPage };
    this.reaches.clear();
    for (const [key, other] of kept) this.reaches.set(key, other);
    this.reaches.set(place.key, reach);
    return reach;
  }
}

export type LocalPair = readonly [host: Variable, inPage: Variable];

/** An address as a place, if all of it is known by `leaf`. */
export function placeOf(e: Expr, leaf: (e: Expr) => Place | undefined): Place | undefined {
  if (e.kind !== 'op') return leaf(e);
  const [a, b] = e.args;
  const bits = b?.kind === 'const' && b.type === 'i64' ? (b.value as bigint) : undefined;
  if (bits !== undefined && (bits > farthest || bits < -farthest)) return undefined;
  switch (e.op.name) {
    case 'i64.add': {
      const x = a.kind === 'const' ? constantPlace(a) : placeOf(a, leaf);
      const y = bits !== undefined ? { key: '', displacement: Number(bits) } : placeOf(b, leaf);
      return x && y ? sum(x, y) : undefined;
    }
    case 'i64.sub': {
      const x = bits === undefined ? undefined : placeOf(a, leaf);
      return x ? sum(x, { key: '', displacement: -Number(bits) }) : undefined;
    }
    case 'i64.shl': {
      const x = bits === undefined ? undefined : placeOf(a, leaf);
      if (!x || longKey(x.key)) return undefined;
      return inRange({ key: `(${x.key})<<${bits}`, displacement: x.displacement * 2 ** Number(bits) });
    }
    default:
      return undefined;
  }
}

function constantPlace(e: Extract<Expr, { kind: 'const' }>): Place | undefined {
  const value = e.value as bigint;
  return e.type === 'i64' && value <= farthest && value >= -farthest
    ? { key: '', displacement: Number(value) }
    : undefined;
}

function sum(x: Place, y: Place): Place | undefined {
  const displacement = x.displacement + y.displacement;
  if (x.key === '' || y.key === '') return inRange({ key: x.key + y.key, displacement });
  return longKey(x.key) || longKey(y.key) ? undefined : inRange({ key: `${x.key}+${y.key}`, displacement });
}

const inRange = (place: Place): Place | undefined => (Math.abs(place.displacement) <= farthest ? place : undefined);

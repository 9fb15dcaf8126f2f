/** Guest memory in a region: by the TLB or what was looked up before; a miss is filled or leaves. */
import { add, and, type Expr, eqz, geU, type IntSize, i32, ltU, sub, type Variable } from '../../../target/index.ts';
import { fillWrite } from '../emit/core-types.ts';
import { tlb } from '../layout.ts';
import { Untranslatable } from './frame.ts';
import { LocalsBuilder } from './locals.ts';
import type { Place } from './reached.ts';

const pageBytes = 4096;

/** An engine address, and a constant to add to it. */
interface HostAddress {
  readonly at: Expr;
  readonly offset: number;
}

export abstract class AccessBuilder extends LocalsBuilder {
  private probed = false;

  /** Lets the interpreter run this instruction. */
  protected abstract leaveHere(): void;

  protected override tlbSet(): Expr {
    return this.control.frame.tlb;
  }

  /** Like `place`; those near the code are known to be in different pages or not. */
  private accessPlace(address: Expr): Place | undefined {
    const place = this.place(address);
    if (place?.key !== 'page') return place;
    const inPage = place.displacement & (pageBytes - 1);
    return { key: `page${place.displacement - inPage}`, displacement: inPage };
  }

  /** Engine address (i32) of an access that hits, or away. */
  private reach(address: Expr, write: boolean, size: number): HostAddress {
    if (this.changed && !this.probed) throw new Untranslatable();
    const place = this.control.isFinal && this.depth === 0 && this.long64 ? this.accessPlace(address) : undefined;
    const near = place && this.nearby(place, address, write, size);
    if (near) return near;
    const host = this.lookUp(this.f.let(address), write, size);
    if (!place) return { at: this.f.let(host), offset: 0 };
    const { host: local, inPage } = this.reached.add(place, size, write, this.control.frame.reaches);
    this.f.set(local, host);
    this.f.set(inPage, and(local, i32(pageBytes - 1)));
    return { at: this.f.let(local), offset: 0 };
  }

  /** By the TLB, or away. */
  private lookUp(a: Expr, write: boolean, size: number): Expr {
    const entry = this.tlbEntry(a);
    this.f.ifUnlikely(eqz(this.hit(entry, write ? tlb.writeTag : tlb.readTag, a, size)), () => {
      const access = i32(write ? size | fillWrite : size);
      const fill = () => this.f.call(this.links.runtime.fill, [a, access], 'i32') as Expr;
      this.if(this.control.frame.fillsTlb ? fill() : i32(1), () => this.leaveHere());
    });
    return this.host(entry, a);
  }

  /** By an access that was looked up, if this one is in the same page. */
  private nearby(place: Place, address: Expr, write: boolean, size: number): HostAddress | undefined {
    const known = this.reached.near(place);
    if (!known || (write && !known.isWritable)) return undefined;
    const distance = place.displacement - known.displacement;
    if (Math.abs(distance) > pageBytes - size) return undefined;
    const at = this.f.let(distance < 0 ? add(known.host, i32(distance)) : known.host) as Variable;
    const offset = Math.max(distance, 0);
    if (distance >= 0 && distance + size <= known.size) return { at, offset };
    const beyond =
      distance >= 0
        ? geU(known.inPage, i32(pageBytes + 1 - size - distance))
        : distance + size <= known.size
          ? ltU(known.inPage, i32(-distance))
          : geU(add(known.inPage, i32(distance)), i32(pageBytes + 1 - size));
    this.f.ifUnlikely(beyond, () => {
      const host = this.lookUp(this.f.let(address), write, size);
      this.f.set(at, sub(host, i32(offset)));
    });
    return { at, offset };
  }

  override load(address: Expr, size: IntSize): Expr {
    const { at, offset } = this.reach(address, false, size);
    return this.f.loadRaw(at, offset, size === 8 ? 'i64' : 'i32', size);
  }

  override load128(address: Expr): Expr {
    const { at, offset } = this.reach(address, false, 16);
    return this.f.loadRaw(at, offset, 'v128', 16);
  }

  override store(address: Expr, size: IntSize, value: Expr): void {
    const v = this.f.let(value);
    const { at, offset } = this.reach(address, true, size);
    this.f.storeRaw(at, offset, v, size);
    this.changed = true;
  }

  override store128(address: Expr, value: Expr): void {
    const v = this.f.let(value);
    const { at, offset } = this.reach(address, true, 16);
    this.f.storeRaw(at, offset, v, 16);
    this.changed = true;
  }

  override probeWrite(address: Expr, size: number): void {
    this.reach(address, true, size);
    this.probed = true;
  }

  override modifyMemory(address: Expr, size: IntSize, change: (old: Expr) => Expr): void {
    const { at, offset } = this.reach(address, true, size);
    const value = this.f.let(change(this.f.loadRaw(at, offset, size === 8 ? 'i64' : 'i32', size)));
    this.f.storeRaw(at, offset, value, size);
    this.changed = true;
  }

  override bulkMove(): Expr {
    throw new Untranslatable();
  }

  override bulkFill(): Expr {
    throw new Untranslatable();
  }

  override bulkScan(): Expr {
    throw new Untranslatable();
  }
}

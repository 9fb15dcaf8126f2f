/** The IR's builder for the delivery of events: accesses with the rights of CPL 0 whatever the CPL is. */
import { type Expr, eq, i32, state } from '../../../target/index.ts';
import { tlb, tlbSets } from '../layout.ts';
import { WasmBuilder } from './builder.ts';

export class DeliveryBuilder extends WasmBuilder {
  /** The kernel's TLB set, and whether it has code of the decoding mode in use. */
  readonly kernelTlb: { readonly base: Expr; readonly ready: Expr } = {
    base: this.tlbSet(),
    ready: eq(this.f.loadRaw(this.tlbSet(), tlb.mode, 'i32', 4), this.get(state.mode)),
  };

  protected override tlbSet(): Expr {
    return i32(tlb.base + tlbSets.kernel * tlb.stride);
  }

  /** What the TLB does not have is left to the engine: the function returns 0. */
  protected override slowAccess(): void {
    this.f.return(i32(0));
  }
}

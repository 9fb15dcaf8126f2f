/**
 * What the vCPUs of a machine share: generated code, translations and the TLBs. They run by turns in one thread.
 * The state of the one whose turn it is lies in the engine's memory, where generated code reaches it; the others' lie
 * in images of their own.
 */
import { cr4Bits, state, X86State } from '../../target/index.ts';
import type { Mmu } from './mmu.ts';

/** A vCPU as its engine sees it. */
export interface EngineCpu {
  /** Its state while another one has the engine. */
  readonly image: X86State;
  /** Makes the decoding mode and the TLB set follow the state. */
  selectMode(): void;
}

export class TcgEngine<Cpu extends EngineCpu = EngineCpu> {
  /** The state that generated code works on. */
  readonly cpu: X86State;
  private readonly mmu: Mmu;
  private owner: Cpu | undefined;
  /** Somebody else has something to do: the vCPU that runs is to end its slice soon. */
  private yields = false;
  /** Branches of the budget that were left when it was taken away. */
  private left = 0;

  constructor(cpu: X86State, mmu: Mmu) {
    this.cpu = cpu;
    this.mmu = mmu;
  }

  /** The vCPU whose turn it is. */
  get active(): Cpu {
    return this.owner!;
  }

  has(vcpu: Cpu): boolean {
    return this.owner === vcpu;
  }

  /** The state of a vCPU, wherever it is now: for looking at, and for changing what no mode depends on. */
  stateOf(vcpu: Cpu): X86State {
    return this.owner === vcpu ? this.cpu : vcpu.image;
  }

  /** Gives a vCPU the engine. The TLBs' entries are those of one CPU: they are forgotten. */
  activate(vcpu: Cpu): void {
    if (this.owner === vcpu) return;
    const { cpu, mmu } = this;
    this.owner?.image.bytes.set(cpu.bytes);
    this.owner = vcpu;
    cpu.bytes.set(vcpu.image.bytes);
    mmu.tlb.flush(false);
    const usesPcids = (cpu.get(state.cr4) & cr4Bits.PCIDE) !== 0;
    mmu.tlb.enterContext(usesPcids ? cpu.get(state.cr3) & 0xfff : 0, false);
    vcpu.selectMode();
  }

  /** A vCPU has something to do: another that has the engine gives it up at the next taken branch. */
  interrupt(vcpu: Cpu): void {
    if (this.owner !== vcpu) this.yields = true;
    this.cutShort();
  }

  /** The slice is to end at the next taken branch. */
  stop(): void {
    this.yields = true;
    this.cutShort();
  }

  private cutShort(): void {
    this.left = Math.max(this.left, this.cpu.get(state.budget));
    this.cpu.set(state.budget, 0);
  }

  /** The budget did not end by being used: where it ended says nothing. */
  get wasCutShort(): boolean {
    return this.left > 0;
  }

  /** The rest of a budget that was cut short, once. */
  takeLeft(): number {
    const { left } = this;
    this.left = 0;
    return left;
  }

  /** Whether the slice is to end now; asked once a turn. */
  takeYield(): boolean {
    const { yields } = this;
    this.yields = false;
    return yields;
  }
}

/** An image of the state, as it is before a reset. */
export function emptyImage(size: number): X86State {
  return new X86State(new SharedArrayBuffer((size + 15) & ~15), 0);
}

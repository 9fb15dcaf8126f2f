/**
 * Single step and code breakpoints (SDM vol. 3, 17.3.1): what happens between
 * two instructions while RFLAGS.TF or a breakpoint in DR7 is set. The engine
 * then runs one instruction at a time and calls `boundary` before each.
 */
import { eflags, flag, linear, pendingDebug } from '../state.ts';
import type { X86State } from './cpu.ts';
import { codeBreakpoints, dr6Bits, hasBreakpoints, hasCodeBreakpoint } from './debug.ts';

export class Stepper {
  /** Whether an instruction was begun under watch, and the flags it began with. */
  private began = false;
  private flagsBefore = 0;
  private readonly cpu: X86State;

  constructor(cpu: X86State) {
    this.cpu = cpu;
  }

  /** True when the engine must run one instruction at a time. */
  get isNeeded(): boolean {
    return (this.cpu.get(eflags) & flag.TF) !== 0 || hasBreakpoints(this.cpu);
  }

  /** Ends the last instruction and begins the one at `linear`; true: #DB is due, its causes are in `pendingDebug`. */
  boundary(): boolean {
    const { cpu } = this;
    if (this.began) {
      this.began = false;
      if (this.flagsBefore & flag.TF) cpu.set(pendingDebug, cpu.get(pendingDebug) | dr6Bits.BS);
      if (this.flagsBefore & flag.RF) cpu.set(eflags, cpu.get(eflags) & ~flag.RF);
    }
    if (cpu.get(pendingDebug) !== 0) return true;
    if (!this.isNeeded) return false;
    const flags = cpu.get(eflags);
    if ((flags & flag.RF) === 0 && hasCodeBreakpoint(cpu)) {
      cpu.set(pendingDebug, codeBreakpoints(cpu, cpu.get(linear), cpu.high(linear)));
      if (cpu.get(pendingDebug) !== 0) return true;
    }
    this.began = true;
    this.flagsBefore = flags;
    return false;
  }

  /** The instruction begun last was not done, or its trap is lost: a fault, INT n, SYSCALL, a fetch. */
  cancel(): void {
    this.began = false;
  }
}

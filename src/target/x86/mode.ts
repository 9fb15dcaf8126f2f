/**
 * The decoding mode: everything about the CPU's state that decides how bytes
 * are decoded and which handler runs them. Decoded code is kept per mode.
 */
export const modeBits = {
  /** 64-bit mode: EFER.LMA and CS.L. */
  long64: 1 << 0,
  /** CS.D: default operand and address size 32. */
  code32: 1 << 1,
  /** SS.B: the stack pointer is ESP. */
  stack32: 1 << 2,
  /** Protected mode, virtual-8086 excluded. */
  protected: 1 << 3,
  /** CS, DS, ES and SS have base 0 and cover 4 GiB with all accesses allowed; set in 64-bit mode too. */
  flat: 1 << 4,
  /** One instruction a block: single step, breakpoints. */
  step: 1 << 5,
  /** SSE instructions need no check: CR0.EM = TS = 0 and CR4.OSFXSR = 1. */
  sse: 1 << 6,
  /** AVX instructions need no check: CR0.TS = 0, CR4.OSXSAVE = 1 and XCR0 has SSE and AVX. */
  avx: 1 << 7,
} as const;

/** Number of modes: bits above are below this power of two. */
export const modeCount = 1 << 8;

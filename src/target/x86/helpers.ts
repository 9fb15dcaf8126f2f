/**
 * Names of the system-side helpers: operations too long, too rare or too much
 * about privileged state to be generated code. They are TypeScript functions
 * over the CPU state (folder system/), called from semantics with
 * `b.helper(name, ...args)`; arguments arrive in state `arg0`..`arg3`.
 */
export const helperNames = [
  // segments and far control transfers. farJump, farCall: arg0 = selector, arg1 = offset, arg2 = operand size in bytes
  'loadSegment', // arg0 = register number (0–5), arg1 = selector; MOV SS and POP SS shadow interrupts for one instruction
  'farJump',
  'farCall',
  'farReturn', // arg0 = bytes to release, arg1 = operand size
  'iret', // arg0 = operand size
  'interrupt', // arg0 = vector; INT n, INT3, INTO (software interrupt; arg1: 0 INT n, 1 INT3/INTO, 2 INT1)
  'syscall',
  'sysret', // arg0 = operand size (8: to 64-bit code)
  'sysenter',
  'sysexit', // arg0 = operand size (8: to 64-bit code)
  // system registers
  'moveToCr', // arg0 = register, arg1 = value
  'moveFromCr', // arg0 = register; result in arg1
  'moveToDr', // as for CR
  'moveFromDr',
  'lmsw', // arg0 = machine status word
  'clts',
  'lgdt', // arg0 = limit, arg1 = base (the same for lidt)
  'lidt',
  'lldt', // arg0 = selector
  'ltr',
  'sldt', // result in arg1 (str, smsw too); checks UMIP
  'str',
  'smsw',
  'sgdt', // UMIP check only; the store is semantics
  'sidt',
  'lar', // arg0 = selector; result: arg1 = value, arg2 = 1 when valid
  'lsl',
  'verr', // arg0 = selector; result: arg2 = 1 when valid
  'verw',
  'rdmsr', // this and the next ones take and give ECX, EDX:EAX as their instructions do
  'wrmsr',
  'rdtsc',
  'rdtscp',
  'rdpid', // result in arg1
  'rdpmc',
  'cpuid',
  'xgetbv',
  'xsetbv',
  'invlpg', // arg0 = linear address
  'invpcid', // arg0 = type, arg1 = linear address of the descriptor
  'wbinvd',
  'hlt', // returns 2 (leave), activity = halted, linear = the next instruction
  'mwait',
  'monitor',
  'rdfsbase', // arg0 = 0 FS, 1 GS; result in arg1: checks CR4.FSGSBASE
  'wrfsbase', // arg0 = 0 FS, 1 GS, arg1 = value
  'cli',
  'sti',
  'pushf', // result in arg1: the image to push; arg0 = operand size
  'popf', // arg0 = image, arg1 = operand size in bytes
  'stac',
  'clac',
  'rsm',
  'rdrand', // result in arg1: 64 random bits (RDSEED too)
  // port I/O: arg0 = port, arg1 = size, arg2 = value for out; result in arg2 for in
  'portIn',
  'portOut',
  'ioCheck', // arg0 = port, arg1 = size: #GP unless CPL <= IOPL or the I/O bitmap allows it
  // extended state; arg0 = linear address (checked there), arg1 = REX.W
  'fxsave',
  'fxrstor',
  'xsave', // arg2 = 0 XSAVE, 1 XSAVEOPT, 2 XSAVEC, 3 XSAVES
  'xrstor', // arg2 = 0 XRSTOR, 1 XRSTORS
  // stack frames
  'enter', // arg0 = allocation size, arg1 = nesting level, arg2 = operand size
  'bound', // arg0 = index (sign-extended), arg1 = linear address, arg2 = operand size
] as const;
export type HelperName = (typeof helperNames)[number];
export const helperIds: ReadonlyMap<HelperName, number> = new Map(helperNames.map((name, id) => [name, id]));

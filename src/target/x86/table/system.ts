/** System instructions: thin calls of the helpers in system/ (SDM vol. 2 and vol. 3). */
import {
  add,
  and,
  convert,
  type Expr,
  eq,
  eqz,
  i32,
  i64,
  op,
  or,
  select,
  shl,
  shrS,
  shrU,
  sub,
  toI32,
  toI64,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import type { HelperName } from '../helpers.ts';
import {
  cpl,
  cr0,
  cr2,
  cr3,
  cr4,
  eflags,
  flag,
  fs,
  gdtr,
  gpr,
  gs,
  idtr,
  interruptShadow,
  kernelGsBase,
  shadowed,
  shadows,
  tscAux,
  tscOffset,
} from '../state.ts';
import { cr4Bits } from '../system/context.ts';
import { writeRegister } from './arithmetic.ts';
import { setAc, syscall, sysret } from './privilege.ts';
import { type Row, row } from './row.ts';
import { xrstor, xsave } from './xsave.ts';

const plain =
  (name: HelperName): Semantics =>
  (b) =>
    b.helper(name);

/** SYSCALL and friends want to know the operand size (SYSRET, SYSEXIT: REX.W chooses 64-bit user code). */
const withSize =
  (name: HelperName): Semantics =>
  (b) =>
    b.helper(name, i64(b.osize));

const moveToControl =
  (name: 'moveToCr' | 'moveToDr'): Semantics =>
  (b) =>
    b.helper(name, b.read(0), toI64(b.let(b.read(1))));

function writeControl(b: X86Builder, value: Expr): void {
  b.write(0, b.width(0) === 8 ? value : toI32(value));
}

const moveFromDr: Semantics = (b) => {
  b.helper('moveFromDr', b.read(1));
  writeControl(b, b.argument(1));
};

const moveFromCr: Semantics = (b) => {
  const number = b.let(b.read(1));
  const value = b.variable(i64(0));
  const is = (n: number) => eq(number, i32(n));
  b.if(
    and(eqz(b.get(cpl)), or(or(is(0), is(2)), or(is(3), is(4)))),
    () => {
      const narrow = select(is(0), b.get(cr0), b.get(cr4));
      b.set(value, select(is(2), b.get(cr2), select(is(3), b.get(cr3), toI64(narrow))));
    },
    () => {
      b.helper('moveFromCr', number);
      b.set(value, b.argument(1));
    },
  );
  writeControl(b, value);
};

const tableWidth = (b: X86Builder): 4 | 8 => (b.long64 ? 8 : 4);

const loadTable =
  (name: 'lgdt' | 'lidt'): Semantics =>
  (b) => {
    const address = b.let(b.address(0, 10));
    const limit = b.load(address, 2);
    const base = convert(b.load(add(address, i64(2)), tableWidth(b)), tableWidth(b), 8, false);
    b.helper(name, limit, !b.long64 && b.osize === 2 ? and(base, i64(0xffffff)) : base);
  };

const storeTable =
  (name: 'sgdt' | 'sidt', register: typeof gdtr): Semantics =>
  (b) => {
    b.helper(name);
    const address = b.let(b.address(0, 10, true));
    const width = tableWidth(b);
    const base = b.get(register.base);
    b.probeWrite(address, 2 + width);
    b.store(address, 2, b.get(register.limit));
    b.store(add(address, i64(2)), width, width === 8 ? base : toI32(base));
  };

const loadSelector =
  (name: 'lldt' | 'ltr'): Semantics =>
  (b) =>
    b.helper(name, and(b.let(b.read(0)), i32(0xffff)));

/** SLDT, STR, SMSW: 16 bits to memory, zero-extended to a register. */
const storeWord =
  (name: 'sldt' | 'str' | 'smsw'): Semantics =>
  (b) => {
    b.helper(name);
    const value = b.argument(1);
    if (b.inMemory(0)) b.store(b.address(0, 2, true), 2, toI32(value));
    else b.write(0, b.width(0) === 8 ? value : toI32(value));
  };

function putZero(b: X86Builder, zf: Expr): void {
  b.putFlags(or(and(b.getFlags(), i32(~flag.ZF)), shl(zf, i32(6))));
}

/** LAR and LSL: ZF says whether the destination was written. */
const describeSelector =
  (name: 'lar' | 'lsl'): Semantics =>
  (b) => {
    b.helper(name, and(toI32(b.let(b.read(1))), i32(0xffff)));
    const valid = toI32(b.argument(2));
    const value = b.argument(1);
    b.if(valid, () => b.write(0, b.osize === 8 ? value : toI32(value)));
    putZero(b, valid);
  };

const verify =
  (name: 'verr' | 'verw'): Semantics =>
  (b) => {
    b.helper(name, and(b.let(b.read(0)), i32(0xffff)));
    putZero(b, toI32(b.argument(2)));
  };

const swapgs: Semantics = (b) => {
  b.if(b.get(cpl), () => b.raise(13));
  const current = b.get(gs.base);
  b.put(gs.base, b.get(kernelGsBase));
  b.put(kernelGsBase, current);
};

const cli: Semantics = (b) => {
  if (!b.long64) return b.helper('cli');
  b.if(
    b.get(cpl),
    () => b.helper('cli'),
    () => b.put(eflags, and(b.get(eflags), i32(~flag.IF))),
  );
};

const sti: Semantics = (b) => {
  if (!b.long64) return b.helper('sti');
  b.interruptWindow();
  b.if(
    b.get(cpl),
    () => b.helper('sti'),
    () => {
      b.if(eqz(and(b.get(eflags), i32(flag.IF))), () => {
        b.put(interruptShadow, i32(shadows.sti));
        b.put(shadowed, b.nextIp());
      });
      b.put(eflags, or(b.get(eflags), i32(flag.IF)));
    },
  );
};

/** Whether FSGSBASE instructions are on. */
const hasBases = (b: X86Builder): Expr => and(b.get(cr4), i32(cr4Bits.FSGSBASE));

const readBase =
  (which: 0 | 1): Semantics =>
  (b) => {
    b.if(eqz(hasBases(b)), () => b.helper('rdfsbase', i64(which)));
    const value = b.get((which ? gs : fs).base);
    b.write(0, b.width(0) === 8 ? value : toI32(value));
  };

const writeBase =
  (which: 0 | 1): Semantics =>
  (b) => {
    const value = b.let(toI64(b.let(b.read(0))));
    const isCanonical = eq(shrS(shl(value, i64(16)), i64(16)), value);
    b.if(eqz(and(eqz(eqz(hasBases(b))), isCanonical)), () => b.helper('wrfsbase', i64(which), value));
    b.put((which ? gs : fs).base, value);
  };

/** The TSC's clock and offset as EDX:EAX; RDTSCP gives TSC_AUX too. #GP by the helper. */
const rdtsc =
  (name: 'rdtsc' | 'rdtscp'): Semantics =>
  (b) => {
    b.if(and(and(b.get(cr4), i32(cr4Bits.TSD)), sub(i32(0), eqz(eqz(b.get(cpl))))), () => b.helper(name));
    const count = b.let(add(b.readTsc(), b.get(tscOffset)));
    b.put(gpr[0], and(count, i64(0xffffffffn)));
    b.put(gpr[2], shrU(count, i64(32)));
    if (name === 'rdtscp') b.put(gpr[1], and(b.get(tscAux), i64(0xffffffffn)));
  };

const random: Semantics = (b) => {
  b.helper('rdrand');
  const value = b.argument(1);
  b.write(0, b.osize === 8 ? value : convert(toI32(value), 4, b.osize, false));
  b.putFlags(i32(flag.CF));
};

const rdpid: Semantics = (b) => {
  b.helper('rdpid');
  const value = b.argument(1);
  b.write(0, b.width(0) === 8 ? value : toI32(value));
};

/** IN and OUT with an immediate port or DX. */
const portOf = (b: X86Builder, i: number): Expr => and(toI32(b.let(b.read(i))), i32(0xffff));

const portIn: Semantics = (b) => {
  const width = b.width(0);
  b.helper('ioCheck', portOf(b, 1), i64(width));
  b.helper('portIn', portOf(b, 1), i64(width));
  writeRegister(b, 0, width, toI32(b.argument(2)));
};

const portOut: Semantics = (b) => {
  const width = b.width(1);
  b.helper('ioCheck', portOf(b, 0), i64(width));
  b.helper('portOut', portOf(b, 0), i64(width), toI64(b.let(b.read(1))));
};

/** FXSAVE and FXRSTOR: the helper checks and moves the area. */
const area =
  (name: 'fxsave' | 'fxrstor'): Semantics =>
  (b) =>
    b.helper(name, b.let(b.address(0, 1, name === 'fxsave')), i64(b.w ? 1 : 0));

/** ARPL raises the destination's RPL to the source's. */
const arpl: Semantics = (b) => {
  const rpl = b.let(and(b.read(1), i32(3)));
  const old = b.let(b.read(0));
  const lower = b.let(op('i32.lt_u', and(old, i32(3)), rpl));
  b.if(lower, () => b.write(0, or(and(old, i32(0xfffc)), rpl)));
  putZero(b, lower);
};

const privileged = { privileged: true } as const;
const leaves = { ends: true } as const;

export const systemRows: readonly Row[] = [
  row('SYSCALL', '0F 05', '', syscall, { ends: 'jump', cpuid: 'syscall' }),
  row('SYSRET', '0F 07', '', sysret, { ends: 'jump', cpuid: 'syscall', by: ['osize'] }),
  row('SYSENTER', '0F 34', '', withSize('sysenter'), { ...leaves, cpuid: 'sep' }),
  row('SYSEXIT', '0F 35', '', withSize('sysexit'), { ...leaves, cpuid: 'sep', by: ['osize'] }),
  // Not `privileged`: that the register exists is checked first, by the helper.
  row('MOV', '0F 20 /r', 'Rr,Cd', moveFromCr),
  row('MOV', '0F 22 /r', 'Cd,Rr', moveToControl('moveToCr'), { ends: true }),
  row('MOV', '0F 21 /r', 'Rr,Dd', moveFromDr),
  row('MOV', '0F 23 /r', 'Dd,Rr', moveToControl('moveToDr'), { ends: true }),
  row('LMSW', '0F 01 /6', 'Ew', (b) => b.helper('lmsw', and(b.let(b.read(0)), i32(0xffff))), {
    ...privileged,
    ends: true,
  }),
  row('CLTS', '0F 06', '', plain('clts'), { ...privileged, ends: true }),
  row('LGDT', '0F 01 /2', 'Mt', loadTable('lgdt'), { ...privileged, by: ['osize', 'long64'] }),
  row('LIDT', '0F 01 /3', 'Mt', loadTable('lidt'), { ...privileged, by: ['osize', 'long64'] }),
  row('SGDT', '0F 01 /0', 'Mt', storeTable('sgdt', gdtr)),
  row('SIDT', '0F 01 /1', 'Mt', storeTable('sidt', idtr)),
  row('LLDT', '0F 00 /2', 'Ew', loadSelector('lldt'), { ...privileged, protectedOnly: true }),
  row('LTR', '0F 00 /3', 'Ew', loadSelector('ltr'), { ...privileged, protectedOnly: true }),
  row('SLDT', '0F 00 /0', 'Ev', storeWord('sldt'), { protectedOnly: true }),
  row('STR', '0F 00 /1', 'Ev', storeWord('str'), { protectedOnly: true }),
  row('SMSW', '0F 01 /4', 'Ev', storeWord('smsw')),
  row('VERR', '0F 00 /4', 'Ew', verify('verr'), { protectedOnly: true }),
  row('VERW', '0F 00 /5', 'Ew', verify('verw'), { protectedOnly: true }),
  row('LAR', '0F 02 /r', 'Gv,Ew', describeSelector('lar'), { protectedOnly: true }),
  row('LSL', '0F 03 /r', 'Gv,Ew', describeSelector('lsl'), { protectedOnly: true }),
  row('ARPL', '63 /r', 'Ew,Gw', arpl, { mode: 'no64', protectedOnly: true }),
  row('RDMSR', '0F 32', '', plain('rdmsr'), { ...privileged, cpuid: 'msr' }),
  row('WRMSR', '0F 30', '', plain('wrmsr'), { ...privileged, cpuid: 'msr', ends: true }),
  row('RDTSC', '0F 31', '', rdtsc('rdtsc'), { cpuid: 'tsc' }),
  row('RDTSCP', '0F 01 =F9', '', rdtsc('rdtscp'), { cpuid: 'rdtscp' }),
  row('RDPMC', '0F 33', '', plain('rdpmc')),
  row('CPUID', '0F A2', '', plain('cpuid')),
  row('XGETBV', 'NP 0F 01 =D0', '', plain('xgetbv'), { cpuid: 'xsave' }),
  row('XSETBV', 'NP 0F 01 =D1', '', plain('xsetbv'), { ...privileged, cpuid: 'xsave', ends: true }),
  row('INVLPG', '0F 01 /7', 'Mb', (b) => b.helper('invlpg', b.address(0, 1)), { ...privileged, ends: true }),
  row('INVPCID', '66 0F 38 82 /r', 'Gr,Mdq', (b) => b.helper('invpcid', toI64(b.let(b.read(0))), b.address(1, 16)), {
    ...privileged,
    ends: true,
    cpuid: 'invpcid',
  }),
  row('WBINVD', '0F 09', '', plain('wbinvd'), privileged),
  row('INVD', '0F 08', '', plain('wbinvd'), privileged),
  row('HLT', 'F4', '', plain('hlt'), { ...privileged, ends: true }),
  row('MONITOR', '0F 01 =C8', '', plain('monitor'), { cpuid: 'monitor' }),
  row('MWAIT', '0F 01 =C9', '', plain('mwait'), { cpuid: 'monitor', ends: true }),
  row('SWAPGS', '0F 01 =F8', '', swapgs, { mode: 'only64' }),
  row('CLAC', 'NP 0F 01 =CA', '', setAc(0), { cpuid: 'smap' }),
  row('STAC', 'NP 0F 01 =CB', '', setAc(1), { cpuid: 'smap' }),
  row('RDFSBASE', 'F3 0F AE /0', 'Ry', readBase(0), { mode: 'only64', cpuid: 'fsgsbase' }),
  row('RDGSBASE', 'F3 0F AE /1', 'Ry', readBase(1), { mode: 'only64', cpuid: 'fsgsbase' }),
  row('WRFSBASE', 'F3 0F AE /2', 'Ry', writeBase(0), { mode: 'only64', cpuid: 'fsgsbase' }),
  row('WRGSBASE', 'F3 0F AE /3', 'Ry', writeBase(1), { mode: 'only64', cpuid: 'fsgsbase' }),
  row('CLI', 'FA', '', cli, { by: ['long64'] }),
  row('STI', 'FB', '', sti, { by: ['long64'], shadow: 'window' }),
  row('RDRAND', '0F C7 /6', 'Rv', random, { cpuid: 'rdrand' }),
  row('RDSEED', '0F C7 /7', 'Rv', random, { cpuid: 'rdseed' }),
  row('RDPID', 'F3 0F C7 /7', 'Rr', rdpid, { cpuid: 'rdpid' }),
  row('IN', 'E4', 'AL,Ibu', portIn),
  row('IN', 'E5', 'eAX,Ibu', portIn),
  row('IN', 'EC', 'AL,DX', portIn),
  row('IN', 'ED', 'eAX,DX', portIn),
  row('OUT', 'E6', 'Ibu,AL', portOut),
  row('OUT', 'E7', 'Ibu,eAX', portOut),
  row('OUT', 'EE', 'DX,AL', portOut),
  row('OUT', 'EF', 'DX,eAX', portOut),
  row('FXSAVE', 'NP 0F AE /0', 'Mb', area('fxsave'), { cpuid: 'fxsr', by: ['w', 'long64'] }),
  row('FXRSTOR', 'NP 0F AE /1', 'Mb', area('fxrstor'), { cpuid: 'fxsr', by: ['w', 'long64'] }),
  row('XSAVE', 'NP 0F AE /4', 'Mb', xsave(0), { cpuid: 'xsave', by: ['w', 'long64'] }),
  row('XSAVEOPT', 'NP 0F AE /6', 'Mb', xsave(1), { cpuid: 'xsaveopt', by: ['w', 'long64'] }),
  row('XSAVEC', 'NP 0F C7 /4', 'Mb', xsave(2), { cpuid: 'xsavec', by: ['w', 'long64'] }),
  row('XSAVES', 'NP 0F C7 /5', 'Mb', xsave(3), { ...privileged, cpuid: 'xsaves', by: ['w', 'long64'] }),
  row('XRSTOR', 'NP 0F AE /5', 'Mb', xrstor(false), { cpuid: 'xsave', by: ['w', 'long64'] }),
  row('XRSTORS', 'NP 0F C7 /3', 'Mb', xrstor(true), { ...privileged, cpuid: 'xsaves', by: ['w', 'long64'] }),
];

/** Runs test cases on Vireo's CPU, in the same user-mode world as the native runner. */
import { state as fields, X86State } from '../../../../target/index.ts';
import { createTcg, type Tier } from '../../index.ts';
import { stateBase } from '../../layout.ts';
import { plainEnvironment } from '../environment.ts';
import {
  buildEnvironment,
  codePhysical,
  cr3,
  dataPhysical,
  gdtLimit,
  handlerSize,
  kernel,
  kernelSelectors,
  kernelView,
  layout,
  ramSize,
  setFrame,
  stubWithoutFsGs,
} from './environment.ts';
import {
  at,
  codeBase,
  codeSize,
  dataPages,
  dataSize,
  imageOffset,
  type Outcome,
  pageSize,
  stateBytes,
  type TestCase,
} from './record.ts';

export interface Engine {
  run(c: TestCase): Outcome;
}

const sliceNanos = 60e6;
/** A case that runs longer is endless; a busy host can make one slice too short. */
const slices = 8;
const cr0 = 0x8005_0033 | 0; // PG AM WP NE ET MP PE
const cr4 = 0x5_0e20; // OSXSAVE FSGSBASE UMIP OSXMMEXCPT OSFXSR PAE, as Linux has it
const efer = 0xd01; // NXE LMA LME SCE
const userData = 0xc0f3;

/** @param background what data memory holds before each case, its patches aside */
export async function createEngine(background: Uint8Array, tier: Tier = 'interpreter'): Promise<Engine> {
  const { memory, createVcpu } = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }], tier });
  const vcpu = createVcpu(plainEnvironment(memory));
  const cpu = new X86State(memory.buffer, stateBase);
  const supervisor = kernelView(memory);
  const code = memory.view(codePhysical, codeSize) as Uint8Array;
  const data = memory.view(dataPhysical, dataSize) as Uint8Array;
  const image = new Uint8Array(dataSize);
  const words = (bytes: Uint8Array) => new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  const before = words(image);
  const after = words(data);
  let codeStart = 0;
  let codeEnd = codeSize;

  buildEnvironment(memory);
  const boot = () => {
    vcpu.setEntry({
      mode: 'long64',
      rip: kernel + layout.stub,
      registers: {},
      cr3,
      gdt: { base: kernel, limit: gdtLimit },
      selectors: { code: kernelSelectors.code, data: kernelSelectors.data },
    });
    setSystemRegisters(cpu);
  };
  boot();

  function prepare(c: TestCase): void {
    code.fill(0xcc, codeStart, codeEnd);
    memory.written(codePhysical + codeStart, codeEnd - codeStart);
    codeStart = c.codeAddress - codeBase;
    codeEnd = Math.min(codeStart + c.code.length, codeSize);
    code.set(c.code.subarray(0, codeEnd - codeStart), codeStart);
    memory.written(codePhysical + codeStart, codeEnd - codeStart);
    image.set(background);
    for (const patch of c.patches) image.set(patch.bytes, imageOffset(patch.address));
    data.set(image);
    loadState(cpu, c);
    setFrame(supervisor, c.state, { rip: at.rip, rflags: at.rflags, segments: at.segments, rsp: at.gpr + 8 * 4 });
  }

  function changes(): Map<number, bigint> {
    const found = new Map<number, bigint>();
    for (let i = 0; i < before.length; i++) {
      if (before[i] === after[i]) continue;
      const offset = 8 * i;
      found.set(dataPages[Math.floor(offset / pageSize)].address + (offset % pageSize), after[i]);
    }
    return found;
  }

  return {
    run(c) {
      prepare(c);
      let exit = vcpu.run(sliceNanos);
      for (let i = 1; i < slices && exit.kind === 'slice'; i++) exit = vcpu.run(sliceNanos);
      const state = new DataView(new ArrayBuffer(stateBytes));
      const outcome = { vector: 0, error: 0, cr2: cpu.getBig(fields.cr2), state, changes: changes() };
      if (exit.kind === 'halt') return { ...outcome, status: 'trap', ...saveState(cpu, supervisor, state) };
      boot();
      return { ...outcome, status: exit.kind === 'slice' ? 'timeout' : 'crash' };
    },
  };
}

function setSystemRegisters(cpu: X86State): void {
  cpu.set(fields.cr0, cr0);
  cpu.set(fields.cr4, cr4);
  cpu.setLow(fields.efer, efer);
  cpu.setLow(fields.xcr0, 7);
  cpu.setBig(fields.idtr.base, BigInt(kernel + layout.idt));
  cpu.set(fields.idtr.limit, 16 * 256 - 1);
  cpu.setBig(fields.tr.base, BigInt(kernel + layout.tss));
  cpu.set(fields.tr.selector, kernelSelectors.tss);
  cpu.set(fields.tr.limit, 0x67);
  cpu.setBig(fields.ldtr.base, BigInt(kernel + layout.ldt));
  cpu.set(fields.ldtr.selector, kernelSelectors.ldt);
  cpu.set(fields.ldtr.limit, 0x3f);
  cpu.set(fields.ldtr.rights, 0x82);
}

/** Everything but what the stub loads; the CPU then stands at the stub. */
function loadState(cpu: X86State, { state, mode }: TestCase): void {
  const long = mode === 'long64';
  const all = new Uint8Array(state.buffer);
  for (let i = 0; i < 16; i++) cpu.setBig(fields.gpr[i], state.getBigUint64(at.gpr + 8 * i, true));
  cpu.setBig(fields.gpr[4], BigInt(kernel + layout.frame));
  if (long) {
    for (const [segment, base] of [
      [fields.fs, at.fsBase],
      [fields.gs, at.gsBase],
    ] as const) {
      cpu.set(segment.selector, 0);
      cpu.set(segment.rights, userData);
      cpu.setBig(segment.base, state.getBigUint64(base, true));
    }
  }
  const status = state.getUint16(at.fsw, true);
  const top = (status >> 11) & 7;
  cpu.set(fields.fpuControl, state.getUint16(at.fcw, true));
  cpu.set(fields.fpuStatus, status & ~0x3800);
  cpu.set(fields.fpuTop, top);
  cpu.set(fields.fpuTags, state.getUint8(at.ftw));
  cpu.set(fields.fpuOpcode, 0);
  cpu.setLow(fields.fpuIp, 0);
  cpu.setLow(fields.fpuDp, 0);
  cpu.set(fields.fpuCs, 0);
  cpu.set(fields.fpuDs, 0);
  for (let i = 0; i < 8; i++) {
    const register = (top + i) & 7;
    cpu.setBig(fields.fprSignificand[register], state.getBigUint64(at.st + 16 * i, true));
    cpu.set(fields.fprExponent[register], state.getUint16(at.st + 16 * i + 8, true));
  }
  cpu.set(fields.mxcsr, state.getUint32(at.mxcsr, true));
  cpu.bytes.set(all.subarray(at.ymm, at.ymm + 512), fields.xmm[0].offset);
  cpu.setBig(fields.linear, BigInt(kernel + (long ? stubWithoutFsGs : layout.stub)));
  cpu.set(fields.activity, fields.activities.running);
}

/** The state as the handler's HLT found it: registers from the CPU, the rest from the exception's frame. */
function saveState(cpu: X86State, supervisor: DataView, s: DataView): { vector: number; error: number } {
  const halted = Number(cpu.getBig(fields.linear)) - 1 - kernel - layout.handlers;
  const frame = Number(cpu.getBig(fields.gpr[4])) - kernel;
  const hasError = frame === layout.stackTop - 48;
  const word = (i: number) => supervisor.getBigUint64(layout.stackTop - 8 * i, true);
  const all = new Uint8Array(s.buffer);
  for (let i = 0; i < 16; i++) s.setBigUint64(at.gpr + 8 * i, i === 4 ? word(2) : cpu.getBig(fields.gpr[i]), true);
  s.setBigUint64(at.rip, word(5), true);
  s.setBigUint64(at.rflags, word(3), true);
  s.setBigUint64(at.fsBase, cpu.getBig(fields.fs.base), true);
  s.setBigUint64(at.gsBase, cpu.getBig(fields.gs.base), true);
  const selectors = [
    Number(word(4)),
    Number(word(1)),
    ...[fields.ds, fields.es, fields.fs, fields.gs].map((segment) => cpu.get(segment.selector)),
  ];
  selectors.forEach((selector, i) => {
    s.setUint16(at.segments + 2 * i, selector, true);
  });
  s.setUint32(at.mxcsr, cpu.get(fields.mxcsr), true);
  const top = cpu.get(fields.fpuTop);
  s.setUint16(at.fcw, cpu.get(fields.fpuControl), true);
  s.setUint16(at.fsw, cpu.get(fields.fpuStatus) | (top << 11), true);
  s.setUint8(at.ftw, cpu.get(fields.fpuTags));
  s.setUint16(at.fop, cpu.get(fields.fpuOpcode), true);
  s.setBigUint64(at.fip, cpu.getBig(fields.fpuIp), true);
  s.setBigUint64(at.fdp, cpu.getBig(fields.fpuDp), true);
  for (let i = 0; i < 8; i++) {
    const register = (top + i) & 7;
    s.setBigUint64(at.st + 16 * i, cpu.getBig(fields.fprSignificand[register]), true);
    s.setUint16(at.st + 16 * i + 8, cpu.get(fields.fprExponent[register]), true);
  }
  all.set(cpu.bytes.subarray(fields.xmm[0].offset, fields.xmm[0].offset + 512), at.ymm);
  return { vector: halted / handlerSize, error: hasError ? Number(word(6) & 0xffff_ffffn) : 0 };
}

/** x87, MMX and SSE availability: #UD, #NM and #MF as CR0 and CR4 ask for (SDM vol. 3, tables 2-2 and 13-1), in real mode. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Vcpu } from '../../../contract/index.ts';
import { createTcg } from '../index.ts';
import { plainEnvironment } from './environment.ts';

const codeAt = 0x1000;
const handlersAt = 0x2000;
const dataAt = 0x3000;
const none = 0xff;
const [UD, NM, MF] = [6, 7, 16];

const MP = 2;
const EM = 4;
const TS = 8;
const NE = 32;
const OSFXSR = 0x200;

const hex = (text: string): number[] => text.split(' ').map((byte) => Number.parseInt(byte, 16));
const word = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff];

const fnop = 'D9 D0';
const fwait = '9B';
const fnstswAx = 'DF E0';
const emms = '0F 77';
const xorps = '0F 57 C0';
/** 1 / 0 with ZE unmasked. */
const pendingZeroDivide = [...hex('DB E3 D9 2E'), ...word(dataAt), ...hex('D9 E8 D9 EE DE F9')];

describe('execution units', () => {
  let memory: Uint8Array;
  let written: () => void;
  let vcpu: Vcpu;

  before(async () => {
    const tcg = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: 0x10000 }] });
    memory = tcg.memory.view(0, 0x10000) as Uint8Array;
    written = () => tcg.memory.written(codeAt, 256);
    vcpu = tcg.createVcpu(plainEnvironment(tcg.memory));
    // Each vector's handler stores the vector's number behind the control word and halts.
    for (let vector = 0; vector < 32; vector++) {
      const handler = handlersAt + 16 * vector;
      memory.set([...word(handler), 0, 0], 4 * vector);
      memory.set([0x2e, 0xc6, 0x06, ...word(dataAt + 2), vector, 0xf4], handler);
    }
  });

  /** Runs `code` with these bits of CR0 and CR4; the exception that it meets, or `none`. */
  function run(code: readonly number[], cr0: number, cr4 = 0): number {
    const setup = [...hex('DB E3 66 B8'), ...word(cr4), 0, 0, ...hex('0F 22 E0')];
    const enable = [...hex('66 B8'), ...word(cr0 | 0x10), 0, 0, ...hex('0F 22 C0')];
    memory.set([...word(0x37b), none], dataAt);
    memory.set([...setup, ...enable, ...code, 0xf4], codeAt);
    written();
    vcpu.reset();
    vcpu.setEntry({ mode: 'real16', rip: codeAt, registers: { rsp: 0x8000 } });
    for (let slices = 0; vcpu.run(1e6).kind === 'slice'; slices++) assert.ok(slices < 1000, 'the code does not end');
    return memory[dataAt + 2];
  }

  const cases: [name: string, code: number[], cr0: number, cr4: number, expected: number][] = [
    ['FNOP', hex(fnop), NE, 0, none],
    ['FNOP with EM', hex(fnop), NE | EM, 0, NM],
    ['FNOP with TS', hex(fnop), NE | TS, 0, NM],
    ['FNSTSW with TS', hex(fnstswAx), NE | TS, 0, NM],
    ['FWAIT with TS alone', hex(fwait), NE | TS, 0, none],
    ['FWAIT with EM alone', hex(fwait), NE | EM, 0, none],
    ['FWAIT with TS and MP', hex(fwait), NE | TS | MP, 0, NM],
    ['FNOP behind an unmasked exception', [...pendingZeroDivide, ...hex(fnop)], NE, 0, MF],
    ['FWAIT behind an unmasked exception', [...pendingZeroDivide, ...hex(fwait)], NE, 0, MF],
    ['FNSTSW behind an unmasked exception', [...pendingZeroDivide, ...hex(fnstswAx)], NE, 0, none],
    ['FNOP behind a cleared exception', [...pendingZeroDivide, ...hex('DB E2'), ...hex(fnop)], NE, 0, none],
    ['FNOP behind an unmasked exception without NE', [...pendingZeroDivide, ...hex(fnop)], 0, 0, none],
    ['EMMS', hex(emms), NE, 0, none],
    ['EMMS with EM', hex(emms), NE | EM, 0, UD],
    ['EMMS with TS', hex(emms), NE | TS, 0, NM],
    ['EMMS with EM and TS', hex(emms), NE | EM | TS, 0, UD],
    ['EMMS behind an unmasked exception', [...pendingZeroDivide, ...hex(emms)], NE, 0, MF],
    ['XORPS', hex(xorps), NE, OSFXSR, none],
    ['XORPS without OSFXSR', hex(xorps), NE, 0, UD],
    ['XORPS with EM', hex(xorps), NE | EM, OSFXSR, UD],
    ['XORPS with TS', hex(xorps), NE | TS, OSFXSR, NM],
    ['XORPS behind an unmasked exception', [...pendingZeroDivide, ...hex(xorps)], NE, OSFXSR, none],
  ];
  for (const [name, code, cr0, cr4, expected] of cases) {
    it(`${name}: ${expected === none ? 'no exception' : `vector ${expected}`}`, () => {
      assert.equal(run(code, cr0, cr4), expected);
    });
  }
});

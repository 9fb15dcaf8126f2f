/** The generated XSAVE family against the system side's helpers, over random states, requests, areas and headers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuFault, helperNames, state } from '../../target/index.ts';
import type { TcgSystem } from './system.ts';
import { hex, type SmallGuest, smallGuest, tiers } from './testing/small-guest.ts';
import type { TcgVcpu } from './vcpu.ts';

const code = 0x10000;
/** Areas begin here, or so that they go over the end of a page. */
const areas = [0x20000, 0x20e40, 0x20dc0];
const areaSize = 0x400;
const header = 512;
const unmappedEnd = 0x1fff00;

interface Form {
  readonly name: string;
  readonly bytes: string;
  readonly helper: 'xsave' | 'xrstor';
  readonly argument: number;
}
const forms: readonly Form[] = [
  { name: 'XSAVE', bytes: '0F AE 23', helper: 'xsave', argument: 0 },
  { name: 'XSAVEOPT', bytes: '0F AE 33', helper: 'xsave', argument: 1 },
  { name: 'XSAVEC', bytes: '0F C7 23', helper: 'xsave', argument: 2 },
  { name: 'XSAVES', bytes: '0F C7 2B', helper: 'xsave', argument: 3 },
  { name: 'XRSTOR', bytes: '0F AE 2B', helper: 'xrstor', argument: 0 },
  { name: 'XRSTORS', bytes: '0F C7 1B', helper: 'xrstor', argument: 1 },
];

function random(seed: number): (n: number) => number {
  let x = seed;
  return (n) => {
    x = (Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((x ^ (x >>> 13)) >>> 0) % n;
  };
}

type Below = ReturnType<typeof random>;

function randomState(below: Below, { cpu }: SmallGuest): void {
  const fields = [state.fpuStatus, state.fpuTop, state.fpuTags, state.fpuOpcode, state.fpuCs, state.fpuDs];
  const usesX87 = below(3) > 0;
  const limits = [0xc7ff, 8, 0x100, 0x800, 0x10000, 0x10000];
  cpu.set(state.fpuControl, usesX87 ? 0x40 | below(0x1000) : 0x37f);
  fields.forEach((field, i) => {
    cpu.set(field, usesX87 ? below(limits[i]) : 0);
  });
  cpu.setBig(state.fpuIp, usesX87 ? BigInt(below(1 << 30)) << 8n : 0n);
  cpu.setBig(state.fpuDp, usesX87 && below(2) ? BigInt(below(1 << 30)) << 8n : 0n);
  for (let i = 0; i < 8; i++) {
    cpu.setBig(state.fprSignificand[i], usesX87 ? BigInt(below(1 << 30)) << 30n : 0n);
    cpu.set(state.fprExponent[i], usesX87 ? below(0x10000) : 0);
  }
  const one = below(16);
  for (const [group, uses] of [
    [state.xmm, below(4)],
    [state.ymmHigh, below(4)],
  ] as const) {
    // All registers, one of them, or none.
    group.forEach(({ offset }, i) => {
      const isUsed = uses > 1 || (uses === 1 && i === one);
      for (let byte = 0; byte < 16; byte++) cpu.bytes[offset + byte] = isUsed ? below(256) : 0;
    });
  }
  cpu.set(state.mxcsr, below(2) ? 0x1f80 : below(0x10000));
}

/** An area with garbage and a header that is mostly good. */
function randomArea(below: Below, guest: SmallGuest, at: number, compacted: boolean): void {
  for (let i = 0; i < areaSize; i++) guest.ram[at + i] = below(256);
  guest.view.setUint32(at + 24, below(0x10000), true);
  guest.ram.fill(0, at + header, at + header + 64);
  const named = below(8);
  guest.view.setUint32(at + header, below(8) & (compacted ? named : 7), true);
  if (compacted) {
    guest.view.setUint32(at + header + 8, named, true);
    guest.view.setUint32(at + header + 12, 0x8000_0000, true);
  }
  if (below(8) === 0) guest.ram[at + header + below(64)] ^= 1 << below(8);
  if (below(16) === 0) guest.view.setUint32(at + 24, 1 << 20, true);
}

/** The helper's answer in place of the instruction: the vector that it raised, or -1. */
function byHelper(guest: SmallGuest, form: Form, area: number, wide: boolean): number {
  const { system } = (guest.vcpu as unknown as { parts: { system: TcgSystem } }).parts;
  guest.cpu.setBig(state.arg[0], BigInt(area));
  guest.cpu.setBig(state.arg[1], wide ? 1n : 0n);
  guest.cpu.setBig(state.arg[2], BigInt(form.argument));
  try {
    system.helpers[helperNames.indexOf(form.helper)]();
    return -1;
  } catch (e) {
    if (!(e instanceof CpuFault)) throw e;
    return e.vector;
  }
}

const first = state.fpuControl.offset;
const last = state.ymmHigh[15].offset + 16;

for (const tier of tiers) {
  test(`XSAVE and XRSTOR, ${tier}`, async () => {
    const below = random(0xabcd);
    const guest = await smallGuest(tier);
    const { cpu, ram } = guest;
    const faults = { none: 0, some: 0 };
    const run = (at: number) => {
      guest.setEntry(at);
      cpu.set(state.cr4, cpu.get(state.cr4) | (1 << 18));
      cpu.setBig(state.xcr0, 7n);
      (guest.vcpu as TcgVcpu).selectMode();
    };
    forms.forEach((form, i) => {
      guest.write(code + 64 * i, [...hex(form.bytes), 0xf4]);
      guest.write(code + 64 * i + 32, [...hex(`48 ${form.bytes}`), 0xf4]);
    });
    for (let round = 0; round < 120; round++) {
      const form = forms[round % forms.length];
      const wide = below(2) === 1;
      const area = below(20) === 0 ? unmappedEnd : areas[below(areas.length)] + (below(12) === 0 ? 8 : 0);
      run(code + 64 * forms.indexOf(form) + (wide ? 32 : 0));
      randomState(below, guest);
      cpu.setBig(state.gpr[0], BigInt(below(4) === 0 ? below(256) : 7));
      cpu.setBig(state.gpr[3], BigInt(area));
      if (area !== unmappedEnd) randomArea(below, guest, area, form.name === 'XRSTORS' || below(8) === 0);
      const stateBefore = cpu.bytes.slice(first, last);
      const areaBefore = ram.slice(area, area + areaSize);
      guest.run();
      const fault = guest.halted;
      const stateAfter = Buffer.from(cpu.bytes.slice(first, last));
      const areaAfter = Buffer.from(ram.slice(area, area + areaSize));
      cpu.bytes.set(stateBefore, first);
      ram.set(areaBefore, area);
      cpu.set(state.cpl, 0);
      const expected = byHelper(guest, form, area, wide);
      const about = `round ${round}: ${form.name}${wide ? '64' : ''} at ${area.toString(16)}`;
      assert.equal(fault, expected, about);
      assert.deepEqual(areaAfter, Buffer.from(ram.slice(area, area + areaSize)), about);
      assert.deepEqual(stateAfter, Buffer.from(cpu.bytes.slice(first, last)), about);
      faults[fault < 0 ? 'none' : 'some']++;
    }
    assert.ok(faults.none > 60 && faults.some > 5, JSON.stringify(faults));
  });
}

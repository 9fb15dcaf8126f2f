/** The generated page walk against the system side's, over random page tables, privileges and control registers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PageWalker, type SystemPorts, state, X86State } from '../../../target/index.ts';
import type { CodeCache } from '../code-cache.ts';
import { stateBase, tlb, walk } from '../layout.ts';
import { TcgMemory } from '../memory.ts';
import { Mmu } from '../mmu.ts';
import { plainBus } from '../testing/environment.ts';
import { entryOffset } from '../tlb.ts';
import { ModuleBuilder } from '../wasm/writer.ts';
import type { Links } from './builder.ts';
import { coreFunctions, filled, fillWrite } from './core-types.ts';
import { emitFill } from './walk.ts';

const pageCount = 64;
const highBase = 0x1_0000_0000;
const physicalBits = 40;
/** Pages 1 to 12 and 64 to 67 (above 4 GiB) are tables. */
const tablePages = [
  ...Array.from({ length: 12 }, (_, i) => (i + 1) << 12),
  ...[0, 1, 2, 3].map((i) => highBase + (i << 12)),
];
const levels = [48, 39, 30, 21, 12];

interface Random {
  /** An integer below n. */
  below(n: number): number;
  pick<T>(from: readonly T[]): T;
  /** True in `percent` of the cases. */
  chance(percent: number): boolean;
}

function random(seed: number): Random {
  let x = seed;
  const below = (n: number): number => {
    x = (Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((x ^ (x >>> 13)) >>> 0) % n;
  };
  return { below, pick: (from) => from[below(from.length)], chance: (percent) => below(100) < percent };
}

function setUp() {
  const memory = new TcgMemory([
    { base: 0, size: pageCount << 12 },
    { base: highBase, size: 8 << 12 },
  ]);
  const cpu = new X86State(memory.buffer, stateBase);
  const mmu = new Mmu(memory, cpu, plainBus());
  const codePages = new Set<number>();
  let leftRam = false;
  const ports = {
    readPhysical32: (address: number) => {
      leftRam ||= memory.hostAddress(address) < 0;
      return mmu.readPhysical32(address);
    },
    setPhysicalBits: (address: number, bits: number) => mmu.setPhysicalBits(address, bits),
  };
  const walker = new PageWalker(cpu, ports as unknown as SystemPorts, physicalBits, true);
  const code = { hasCode: (page: number) => codePages.has(page), invalidate: () => false };
  mmu.connect(walker, code as unknown as CodeCache);
  const module = new ModuleBuilder(memory.pages);
  const index = module.declareFunction(coreFunctions.fill);
  const noLinks = { runtime: {}, handlerType: 0 } as unknown as Links;
  module.defineFunction(index, emitFill(noLinks, { ranges: memory.ranges, physicalBits, hasGigabytePages: true }));
  module.exportFunction('fill', index);
  const table = new WebAssembly.Table({ element: 'anyfunc', initial: 0 });
  const imports = { env: { memory: memory.memory, table } } as unknown as WebAssembly.Imports;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), imports);
  const fill = exports.fill as unknown as (address: bigint, access: number) => number;
  return {
    memory,
    cpu,
    mmu,
    walker,
    codePages,
    fill,
    takeLeftRam: () => {
      const left = leftRam;
      leftRam = false;
      return left;
    },
  };
}

type Setting = ReturnType<typeof setUp>;

function randomEntry(r: Random, shift: number): bigint {
  let low = 0;
  for (const [bit, percent] of [
    [0x01, 99],
    [0x02, 88],
    [0x04, 88],
    [0x20, 50],
    [0x40, 50],
    [0x100, 50],
  ])
    if (r.chance(percent)) low |= bit;
  const isLarge = shift > 12 && r.chance(20);
  if (isLarge || (shift === 12 && r.chance(50))) low |= 0x80;
  let entry = BigInt(low);
  if (r.chance(8)) entry |= 1n << 63n;
  if (r.chance(30)) entry |= 1n << BigInt(52 + r.below(11));
  if (r.chance(1)) entry |= 1n << BigInt(physicalBits + r.below(12));
  if (isLarge) return entry | (r.chance(15) ? BigInt(1 + r.below(31)) << 12n : 0n) | (r.chance(10) ? 1n << 32n : 0n);
  if (shift > 12) return entry | BigInt(r.chance(98) ? r.pick(tablePages) : r.pick([0x8_0000, 0x7f_0000_0000]));
  const page = r.chance(90) ? r.below(pageCount) << 12 : r.pick([0x8_0000, highBase + 0x5000, highBase + 0x9000]);
  return entry | BigInt(page);
}

function randomAddress(r: Random, isWide: boolean): bigint {
  let address = BigInt(r.below(0x1000));
  for (const shift of levels)
    address |= BigInt(r.pick(shift === 12 ? [0, 1, 5, 63, 511] : [0, 0, 1, 256, 511])) << BigInt(shift);
  const bits = isWide || r.chance(10) ? 57 : 48;
  return BigInt.asIntN(64, BigInt.asIntN(bits, address));
}

function randomTables(r: Random, view: DataView, { memory }: Setting): void {
  for (const page of tablePages) {
    const host = memory.hostAddress(page);
    for (const index of [0, 1, 5, 63, 256, 511])
      view.setBigUint64(host + 8 * index, randomEntry(r, r.pick(levels)), true);
  }
}

function randomState(r: Random, { cpu, mmu, codePages }: Setting): boolean {
  const isWide = r.chance(40);
  cpu.set(state.cr0, 0x8000_0001 | (r.chance(70) ? 1 << 16 : 0) | 0);
  const optional = [1 << 7, 1 << 20, 1 << 21].reduce((bits, bit) => bits | (r.chance(60) ? bit : 0), 0);
  cpu.set(state.cr4, (1 << 5) | optional | (isWide ? 1 << 12 : 0));
  cpu.setPair(state.efer, 0x501 | (r.chance(80) ? 0x800 : 0), 0);
  const root = r.pick(tablePages);
  cpu.setPair(state.cr3, root | (r.chance(50) ? 0x18 : 0) | 0, Math.floor(root / 2 ** 32));
  cpu.set(state.eflags, r.chance(40) ? state.flag.AC : 0);
  cpu.set(state.cpl, r.chance(50) ? 3 : 0);
  cpu.set(state.a20Mask, -1);
  codePages.clear();
  for (let i = 0; i < pageCount; i++) {
    if (r.chance(10)) codePages.add(i << 12);
    // The bit may be there without reason, but not the other way round.
    if (codePages.has(i << 12) || r.chance(5)) mmu.protectPage(i << 12);
  }
  mmu.selectSet(1);
  return isWide;
}

/** What both leave behind. */
function outcome({ memory, cpu }: Setting, address: bigint) {
  const low = Number(BigInt.asIntN(32, address));
  const set = cpu.get(state.tlbBase);
  const view = new DataView(memory.buffer);
  const lists = [
    [tlb.localCount, tlb.localList],
    [tlb.globalCount, tlb.globalList],
  ].map(([count, list]) => {
    const length = view.getInt32(set + count, true);
    return Array.from({ length }, (_, i) => view.getInt32(set + list + 4 * i, true));
  });
  return {
    entry: Buffer.from(memory.bytes.slice(set + entryOffset(low), set + entryOffset(low) + 32)).toString('hex'),
    lists,
    largePages: [...new Float64Array(memory.buffer, walk.largePages, 4)],
    ram: Buffer.from(memory.bytes.slice(memory.ranges[0].offset, memory.ranges[0].offset + memory.size)),
    fault: [cpu.get(state.faultVector), cpu.get(state.faultError), cpu.getBig(state.faultAddress)],
  };
}

function clear({ memory, cpu, mmu }: Setting, address: bigint): void {
  const at = cpu.get(state.tlbBase) + entryOffset(Number(BigInt.asIntN(32, address)));
  mmu.tlb.flush(false);
  memory.bytes.fill(0xff, at, at + 16);
  memory.bytes.fill(0, at + 16, at + 32);
  cpu.set(state.faultVector, 0);
  cpu.set(state.faultError, 0);
  cpu.setBig(state.faultAddress, 0n);
}

const rounds = Number(process.env.VIREO_WALK_ROUNDS ?? 150);

test('the generated walk finds, refuses and marks what the system side does', () => {
  const r = random(0x51ce);
  const setting = setUp();
  const { memory, mmu, walker, fill, codePages } = setting;
  const view = new DataView(memory.buffer);
  const ramStart = memory.ranges[0].offset;
  const counts: Record<number, number> = { [filled.yes]: 0, [filled.fault]: 0, [filled.unknown]: 0 };
  for (let round = 0; round < rounds; round++) {
    const isWide = randomState(r, setting);
    randomTables(r, view, setting);
    for (let i = 0; i < 20; i++) {
      const address = randomAddress(r, isWide);
      const isWrite = r.chance(50);
      const size = r.pick(isWrite ? [1, 8, 16, 832] : [1, 2, 4, 8, 16]);
      const low = Number(BigInt.asIntN(32, address));
      const high = Number(address >> 32n);
      const before = memory.bytes.slice(ramStart, ramStart + memory.size);
      clear(setting, address);
      const answer = fill(address, size | (isWrite ? fillWrite : 0));
      counts[answer]++;
      const mine = outcome(setting, address);
      memory.bytes.set(before, ramStart);
      clear(setting, address);
      setting.takeLeftRam();
      const crosses = (low & 0xfff) + size > 0x1000;
      const fails = (isWrite ? mmu.probeSlow(low, high, size) : mmu.loadSlow(low, high, size)) === 1;
      const notRam = setting.takeLeftRam() || (!fails && memory.hostAddress(walker.page) < 0);
      const canonical = BigInt.asIntN(isWide ? 57 : 48, address) === address;
      const about = `round ${round}, ${i}: ${address.toString(16)} ${isWrite ? 'write' : 'read'} ${size}`;
      if (answer === filled.unknown) {
        const mayBeCode = [...codePages].length > 0 && !fails;
        assert.ok(crosses || notRam || !canonical || mayBeCode, about);
        continue;
      }
      assert.equal(answer === filled.fault, fails, about);
      assert.deepEqual(mine, outcome(setting, address), about);
    }
  }
  for (const count of Object.values(counts)) assert.ok(count > rounds, JSON.stringify(counts));
});

test('it is the engine that walks for data breakpoints, a closed A20 gate, other paging modes, and on demand', () => {
  const setting = setUp();
  const { cpu, fill, memory, mmu } = setting;
  const view = new DataView(memory.buffer);
  const entries = [0x1000, 0x2000, 0x3000].map((at) => memory.hostAddress(at));
  entries.forEach((at, i) => {
    view.setBigUint64(at, BigInt(((i + 2) << 12) | 7), true);
  });
  view.setBigUint64(memory.hostAddress(0x4000), 0x2_0007n, true);
  cpu.set(state.cr0, 0x8000_0001 | 0);
  cpu.set(state.cr4, 1 << 5);
  cpu.setPair(state.efer, 0x500, 0);
  cpu.setPair(state.cr3, 0x1000, 0);
  cpu.set(state.a20Mask, -1);
  mmu.selectSet(1);
  const answers = (change: () => void, restore: () => void) => {
    mmu.tlb.flush(false);
    change();
    const answer = fill(0x123n, 4);
    restore();
    return answer;
  };
  assert.equal(
    answers(
      () => {},
      () => {},
    ),
    filled.yes,
  );
  const toggle = (field: typeof state.cr0, other: number) => {
    const now = cpu.get(field);
    return answers(
      () => cpu.set(field, other),
      () => cpu.set(field, now),
    );
  };
  assert.equal(toggle(state.dr[7], 1), filled.unknown);
  assert.equal(toggle(state.a20Mask, ~0x10_0000), filled.unknown);
  assert.equal(toggle(state.cr0, 1), filled.unknown);
  assert.equal(toggle(state.efer, 0), filled.unknown);
  memory.dirtyLog.start();
  assert.equal(fill(0x123n, 4), filled.unknown);
  memory.dirtyLog.stop();
  // The engine's next walk finds the log off.
  mmu.loadSlow(0x123, 0, 4);
  assert.equal(fill(0x123n, 4), filled.yes);
});

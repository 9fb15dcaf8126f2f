import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { buildTable, decode, type InstructionTable, modeBits, x86Rows } from '../../../target/index.ts';
import { hex } from '../testing/small-guest.ts';
import { branchTarget, findRegion, type InstructionSource, type Region } from './region.ts';

const long64 = modeBits.long64 | modeBits.code32 | modeBits.stack32 | modeBits.flat | modeBits.protected;
const pageSize = 4096;
const ret = 0xc3;
const hlt = 0xf4;

describe('finding a region', () => {
  let table: InstructionTable;
  before(() => {
    table = buildTable(x86Rows);
  });

  /** The page's code; HLT can not be translated. */
  function source(page: Uint8Array): InstructionSource {
    const instruction = (offset: number) => {
      if (offset < 0 || offset >= pageSize || page[offset] === hlt) return undefined;
      const decoded = decode(table, new Set(), long64, page, offset, pageSize);
      return typeof decoded === 'string' ? undefined : { offset, instruction: decoded, record: 64 * offset };
    };
    return { instruction, isCold: () => false, seenTargets: () => [] };
  }

  function pageOf(at: number, code: readonly number[]): Uint8Array {
    const page = new Uint8Array(pageSize).fill(hlt);
    page.set(code, at);
    return page;
  }

  const find = (at: number, text: string): Region => findRegion(at, source(pageOf(at, hex(text))));
  const shape = ({ blocks, successors }: Region) =>
    blocks.map((b, i) => [b.offset, b.instructions.length, b.fallThrough, successors[i]]);

  it('straight code to a return', () => {
    assert.deepEqual(shape(find(0x100, '90 90 C3')), [[0x100, 3, undefined, []]]);
  });

  it('an instruction that can not be translated ends it', () => {
    assert.deepEqual(shape(find(0x100, '90 F4 90')), [[0x100, 1, 0x101, []]]);
  });

  it('an entry that can not be translated', () => {
    assert.deepEqual(shape(find(0x100, 'F4')), [[0x100, 0, 0x100, []]]);
  });

  it('a loop of one block', () => {
    // loop: dec ecx; jnz loop; ret
    assert.deepEqual(shape(find(0x100, 'FF C9 75 FC C3')), [
      [0x100, 2, 0x104, [1, 0]],
      [0x104, 1, undefined, []],
    ]);
  });

  it('a branch into the middle of the entry splits it', () => {
    // nop; loop: nop; jmp loop
    assert.deepEqual(shape(find(0x100, '90 90 EB FD')), [
      [0x100, 1, 0x101, [1]],
      [0x101, 2, undefined, [1]],
    ]);
  });

  it('a branch into the middle of an instruction is a block of its own', () => {
    // mov eax, 9090C3C3h; je back to its immediate; ret
    assert.deepEqual(shape(find(0x100, 'B8 90 C3 90 90 74 FA C3')), [
      [0x100, 2, 0x107, [2, 1]],
      [0x101, 2, undefined, []],
      [0x107, 1, undefined, []],
    ]);
  });

  it('branches out of the page lead out', () => {
    const backward = find(0, '74 F0 C3');
    assert.deepEqual(shape(backward), [
      [0, 1, 2, [1]],
      [2, 1, undefined, []],
    ]);
    assert.equal(branchTarget(backward.blocks[0].instructions[0]), -14);
    const forward = find(0xffe, 'EB 10');
    assert.deepEqual(shape(forward), [[0xffe, 1, undefined, []]]);
    assert.equal(branchTarget(forward.blocks[0].instructions[0]), 0x1010);
  });

  it('code up to the last byte of the page falls out of it', () => {
    assert.deepEqual(shape(find(0xffe, '90 90')), [[0xffe, 2, 0x1000, []]]);
    assert.deepEqual(shape(find(0xffe, '90 B8')), [[0xffe, 1, 0xfff, []]]);
  });

  it('a call ends a block; its target and where that returns to are parts', () => {
    const region = find(0x100, 'E8 01 00 00 00 C3 90 C3');
    assert.deepEqual(
      region.blocks.map((b) => b.offset),
      [0x100, 0x106, 0x105],
    );
    assert.deepEqual(region.successors[0], [1]);
  });

  it('holds at most 400 instructions', () => {
    const straight = findRegion(0, source(new Uint8Array(pageSize).fill(0x90)));
    assert.equal(straight.instructionCount, 400);
    assert.deepEqual(shape(straight), [[0, 400, 400, []]]);
  });

  it('holds at most 400 instructions in all blocks together', () => {
    // Sixty branches, each to far straight code, and straight code behind them.
    const page = new Uint8Array(pageSize).fill(0x90);
    for (let i = 0; i < 40; i++) page.set([0x0f, 0x84, ...littleEndian(600 + 80 * i - (6 * i + 6))], 6 * i);
    const region = findRegion(0, source(page));
    assert.ok(region.instructionCount <= 400, `${region.instructionCount} instructions`);
    assertConsistent(region);
  });

  it('has at most 64 blocks', () => {
    const page = new Uint8Array(pageSize).fill(ret);
    for (let i = 0; i < 200; i++) page.set([0x74, 0x10], 2 * i);
    const region = findRegion(0, source(page));
    assert.equal(region.blocks.length, 64);
    assertConsistent(region);
  });

  it('is consistent for any bytes', () => {
    let seed = 1;
    for (let round = 0; round < 200; round++) {
      const page = Uint8Array.from({ length: pageSize }, () => {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        // Many short branches.
        return (seed >>> 28) % 4 === 0 ? 0x70 + ((seed >>> 16) & 15) : seed >>> 16;
      });
      assertConsistent(findRegion((round * 20) % pageSize, source(page)));
    }
  });
});

const littleEndian = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];

/** Blocks are within the limits and the page, in one piece, and end where the next one may start. */
function assertConsistent({ blocks, blockAt, successors, instructionCount }: Region): void {
  assert.ok(blocks.length <= 64 && instructionCount <= 400);
  assert.equal(
    blocks.reduce((sum, b) => sum + b.instructions.length, 0),
    instructionCount,
  );
  blocks.forEach((block, i) => {
    assert.equal(blockAt.get(block.offset), i);
    let at = block.offset;
    for (const { offset, instruction } of block.instructions) {
      assert.equal(offset, at);
      assert.ok(at === block.offset || !blockAt.has(at), 'a block goes on into another one');
      at += instruction.length;
    }
    assert.ok(at <= pageSize);
    if (block.fallThrough !== undefined) assert.equal(block.fallThrough, at);
    const last = block.instructions.at(-1);
    const ways = last ? [block.fallThrough, branchTarget(last)] : [];
    for (const to of successors[i]) assert.ok(ways.includes(blocks[to].offset));
  });
}

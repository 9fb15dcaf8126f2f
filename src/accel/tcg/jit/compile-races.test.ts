/** What the thread that makes regions may see while the vCPU's thread decodes and drops code: never half of anything. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  buildTable,
  type InstructionTable,
  modeBits,
  parseRow,
  undefinedOpcode,
  x86Rows,
} from '../../../target/index.ts';
import { CodeCache, type HandlerSource } from '../code-cache.ts';
import { ops } from '../interpreter.ts';
import { entryTable, record, recordIn } from '../layout.ts';
import { engineLibraries } from '../libraries.ts';
import { TcgMemory } from '../memory.ts';
import { dword, hex } from '../testing/small-guest.ts';
import { type CompileRequest, type RegionCode, RegionCompiler } from './compiler.ts';

const mode = modeBits.long64 | modeBits.code32 | modeBits.stack32 | modeBits.flat | modeBits.protected;
const page = 0x1000;

function engine(onHandler: () => void = () => {}) {
  const memory = new TcgMemory([{ base: 0, size: 0x2_0000 }]);
  const table = buildTable(x86Rows);
  const failure = parseRow(undefinedOpcode, table.rows.length);
  const handlers: HandlerSource = {
    handler: () => {
      onHandler();
      return { op: ops.call, handler: 1 };
    },
    fused: () => 0,
    isPair: () => false,
  };
  const code = new CodeCache(memory, table, new Set(), handlers, { undefinedOpcode: failure, tooLong: failure });
  const write = (offset: number, bytes: readonly number[]) => {
    const host = memory.hostAddress(page) + offset;
    memory.bytes.set(bytes, host);
    return code.invalidate(page + offset, bytes.length);
  };
  const compiler = (from: InstructionTable = table) =>
    new RegionCompiler({
      buffer: memory.buffer,
      pages: memory.pages,
      table: from,
      features: new Set(),
      libraries: engineLibraries(),
    });
  const request: CompileRequest = {
    generation: 0,
    mode,
    table: code.entryTable(page, mode),
    offset: 0,
    low: page,
    high: 0,
    tlbSet: 0,
    isFinal: false,
    repeatHandlers: [],
  };
  return { memory, table, code, write, compiler, request, words: new Int32Array(memory.buffer) };
}

/** The table; `meanwhile` runs when an instruction is looked up for the first time. */
function interrupted(table: InstructionTable, meanwhile: () => void): InstructionTable {
  let hasRun = false;
  return {
    rows: table.rows,
    get index() {
      if (!hasRun) {
        hasRun = true;
        meanwhile();
      }
      return table.index;
    },
  };
}

const made = (what: RegionCode | 'refused' | 'full'): RegionCode => {
  assert.ok(typeof what !== 'string', `${what}`);
  return what;
};

describe('what the compiling thread sees', () => {
  it('no record before all of it is written', () => {
    const view = { looks: 0, tell: () => {} };
    const { code, write, words, memory, request } = engine(() => view.tell());
    view.tell = () => {
      view.looks++;
      for (let offset = 0; offset < 64; offset++) {
        const at = recordIn(words, request.table, offset);
        if (at) assert.notEqual(memory.bytes[at + record.length], 0, `the record at ${offset}`);
      }
    };
    write(0, [...hex('81 C0'), ...dword(1), 0x90, ...hex('48 8B 43 08 74 F2 FF C0 C3')]);
    code.ensure(page, mode, 0);
    assert.ok(view.looks >= 5);
    assert.notEqual(recordIn(words, request.table, 0), 0);
  });

  it('bytes that are those of the record, though they were others when the region was begun', () => {
    const { code, table, write, compiler, request } = engine();
    // je 16; ret. What it leads to is written and run first while the region is made.
    write(0, hex('74 0E C3'));
    write(16, hex('90 90 90 90 90 90 C3'));
    code.ensure(page, mode, 0);
    const meanwhile = () => {
      assert.equal(write(16, [...hex('81 C0'), ...dword(77), 0xc3]), false);
      code.ensure(page, mode, 16);
    };
    const first = made(compiler(interrupted(table, meanwhile)).compile(request));
    assert.equal(code.pageOf(first.pages[0].table, first.pages[0].drops), page);
    const again = made(compiler().compile(request));
    assert.equal(again.instructionCount, 4);
    assert.deepEqual(first, again);
  });

  it('that code was dropped, when it has read bytes that came after the record', () => {
    const { code, table, write, compiler, request } = engine();
    write(0, [...hex('81 C0'), ...dword(1), 0xc3]);
    code.ensure(page, mode, 0);
    const meanwhile = () => assert.equal(write(2, dword(2)), true);
    const { pages } = made(compiler(interrupted(table, meanwhile)).compile(request));
    assert.equal(code.pageOf(pages[0].table, pages[0].drops), undefined);
  });

  it('the old count of drops as long as it may find an old record', () => {
    const { code, write, words, request } = engine();
    write(0, hex('90 90 C3'));
    code.ensure(page, mode, 0);
    const drops = (request.table + entryTable.drops) >> 2;
    const seen: number[] = [];
    const { add } = Atomics;
    Atomics.add = ((to: Int32Array, index: number, value: number) => {
      if (index === drops) seen.push(words[drops], recordIn(words, request.table, 0));
      return add(to, index, value);
    }) as typeof Atomics.add;
    try {
      write(0, hex('C3'));
    } finally {
      Atomics.add = add;
    }
    assert.deepEqual([...seen, words[drops]], [0, 0, 1]);
  });

  it('no code of a page that is not guarded against writes, decoded for it', () => {
    const { code, write, words, request } = engine();
    write(0, hex('90 C3'));
    code.ensure(page, mode, 0);
    write(0, hex('91 C3'));
    assert.equal(code.hasCode(page), false);
    code.ensureIn(request.table, 0);
    assert.deepEqual([code.hasCode(page), recordIn(words, request.table, 0)], [false, 0]);
  });
});

/** Which translations the TLB keeps over a switch of address space, INVLPG, INVPCID and flushes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cr4Bits, state, X86State } from '../../target/index.ts';
import { ramBase, stateBase, tlb, tlbSets } from './layout.ts';
import { TcgMemory } from './memory.ts';
import { entryFlags, entryOffset, setBase, Tlb } from './tlb.ts';

const kernel = setBase(tlbSets.kernel);
const page = 0x40_5000;
const globalPage = 0x40_6000;

function newTlb() {
  const memory = new TcgMemory([{ base: 0, size: 0x10_0000 }]);
  const cpu = new X86State(memory.buffer, stateBase);
  const entries = new Tlb(memory, cpu);
  const view = new DataView(memory.buffer);
  const enter = (set: number, low: number, flags = 0) =>
    entries.enter(set, (set + entryOffset(low)) >> 2, low, 0, ramBase + (low & 0xf000), true, true, flags);
  const knows = (set: number, low: number) => {
    const entry = set + entryOffset(low);
    const read = view.getBigUint64(entry + tlb.readTag, true);
    assert.equal(view.getBigUint64(entry + tlb.writeTag, true), read, 'both or none in these tests');
    return read === BigInt(low);
  };
  return { entries, enter, knows, view, cpu };
}

test('a context keeps its entries while others run, if its load of CR3 says so', () => {
  const { entries, enter, knows } = newTlb();
  entries.enterContext(1, false);
  const first = entries.userSet;
  enter(first, page);
  entries.enterContext(2, false);
  const second = entries.userSet;
  assert.notEqual(second, first);
  assert.ok(!knows(second, page));
  entries.enterContext(1, true);
  assert.equal(entries.userSet, first);
  assert.ok(knows(first, page));
  entries.enterContext(2, true);
  entries.enterContext(1, false);
  assert.ok(!knows(first, page));
});

test('a load of CR3 with the same PCID forgets unless it keeps', () => {
  const { entries, enter, knows } = newTlb();
  entries.enterContext(5, false);
  enter(entries.userSet, page);
  entries.enterContext(5, true);
  assert.ok(knows(entries.userSet, page));
  entries.enterContext(5, false);
  assert.ok(!knows(entries.userSet, page));
});

test('the kernel sets keep global pages alone', () => {
  const { entries, enter, knows } = newTlb();
  enter(kernel, page);
  enter(kernel, globalPage, entryFlags.global);
  entries.enterContext(1, true);
  assert.ok(!knows(kernel, page));
  assert.ok(knows(kernel, globalPage));
  entries.flush(true);
  assert.ok(knows(kernel, globalPage));
  entries.flush(false);
  assert.ok(!knows(kernel, globalPage));
});

test('an entry whose page turns global, or not global any more', () => {
  const { entries, enter, knows } = newTlb();
  enter(kernel, page);
  enter(kernel, page, entryFlags.global);
  entries.flush(true);
  assert.ok(knows(kernel, page));
  enter(kernel, page);
  entries.flush(true);
  assert.ok(!knows(kernel, page));
});

test('INVLPG forgets a page in all contexts, global or not, and no other', () => {
  const { entries, enter, knows } = newTlb();
  entries.enterContext(1, false);
  const first = entries.userSet;
  enter(first, page, entryFlags.global);
  enter(first, globalPage);
  entries.enterContext(2, false);
  enter(entries.userSet, page);
  enter(kernel, page);
  entries.flushPage(page + 0x123, 0);
  for (const set of [first, entries.userSet, kernel]) assert.ok(!knows(set, page));
  assert.ok(knows(first, globalPage));
});

test('INVLPG anywhere in a large page forgets all of it', () => {
  const { entries, enter, knows } = newTlb();
  enter(kernel, page, entryFlags.global);
  entries.noteLargePage(page, 0, 21);
  entries.flushPage(0x40_0000, 0);
  assert.ok(!knows(kernel, page));
});

test('after a flush of everything the PCID in use is that of CR3', () => {
  const { entries, enter, knows, cpu } = newTlb();
  entries.enterContext(3, false);
  cpu.set(state.cr4, cr4Bits.PCIDE);
  cpu.set(state.cr3, 0x1005);
  entries.flush(false);
  enter(entries.userSet, page);
  entries.enterContext(3, true);
  assert.ok(!knows(entries.userSet, page));
  entries.enterContext(5, true);
  assert.ok(knows(entries.userSet, page));
});

test('one PCID is flushed', () => {
  const { entries, enter, knows } = newTlb();
  entries.enterContext(1, false);
  const first = entries.userSet;
  enter(first, page);
  entries.enterContext(2, false);
  enter(entries.userSet, page);
  entries.flushContext(1);
  assert.ok(!knows(first, page));
  assert.ok(knows(entries.userSet, page));
  entries.flushContext(77);
  assert.ok(knows(entries.userSet, page));
});

test('more PCIDs than contexts: the one that was away longest starts anew', () => {
  const { entries, enter, knows } = newTlb();
  for (let pcid = 1; pcid <= tlb.contexts + 1; pcid++) {
    entries.enterContext(pcid, true);
    assert.ok(!knows(entries.userSet, page), `PCID ${pcid}`);
    enter(entries.userSet, page);
  }
  entries.enterContext(3, true);
  assert.ok(knows(entries.userSet, page));
  entries.enterContext(1, true);
  assert.ok(!knows(entries.userSet, page));
});

test('a page that gets code loses write permission in every set', () => {
  const { entries, enter, view } = newTlb();
  enter(kernel, page, entryFlags.global);
  enter(entries.userSet, page);
  entries.protect(ramBase + (page & 0xf000));
  for (const set of [kernel, entries.userSet]) {
    assert.equal(view.getBigInt64(set + entryOffset(page) + tlb.writeTag, true), -1n);
    assert.equal(view.getBigInt64(set + entryOffset(page) + tlb.readTag, true), BigInt(page));
  }
});

test('neighbouring pages have different entries, so that an access across both misses', () => {
  for (let number = 0; number < 2 ** 20; number++) {
    if (entryOffset((number << 12) | 0) === entryOffset(((number + 1) << 12) | 0)) assert.fail(`page ${number}`);
  }
});

/** The dirty log notes every page that changes, whoever changes it, and few others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTcg } from './index.ts';
import { dword, hex, pageTable, ramSize, SmallGuest, tiers } from './testing/small-guest.ts';

const PAGES = ramSize / 4096;
const CODE = 0x10000;

async function guestWithLog(tier: (typeof tiers)[number]) {
  const tcg = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }], tier });
  const guest = new SmallGuest(tcg);
  const log = tcg.memory.dirtyLog;
  const take = (): Set<number> => {
    const bitmap = new Uint8Array(PAGES / 8);
    const count = log.take(bitmap);
    const pages = Array.from({ length: PAGES }, (_, page) => page).filter(
      (page) => bitmap[page >> 3] & (1 << (page & 7)),
    );
    assert.equal(pages.length, count);
    return new Set(pages);
  };
  const differing = (before: Uint8Array): number[] =>
    Array.from({ length: PAGES }, (_, page) => page).filter((page) => {
      const at = page * 4096;
      return Buffer.compare(before.subarray(at, at + 4096), Buffer.from(guest.ram.subarray(at, at + 4096))) !== 0;
    });
  return { guest, log, take, differing };
}

const missing = (noted: ReadonlySet<number>, pages: readonly number[]) => pages.filter((page) => !noted.has(page));

for (const tier of tiers) {
  test(`${tier}: each round, the pages that changed are among those noted`, async () => {
    const { guest, log, take, differing } = await guestWithLog(tier);
    // Stores of 1 to 32 bytes at pseudo-random places of 0x20000 to 0x11ffff, also across pages, and a string store.
    const loop = [
      ...hex('48 69 C0 6D 4E C6 41 48 05 39 30 00 00'), // imul rax, rax, 41c64e6dh; add rax, 12345
      ...hex('48 89 C3 48 C1 EB 10 81 E3 FF FF 0F 00'), // mov rbx, rax; shr rbx, 16; and ebx, fffffh
      ...hex('48 89 83'),
      ...dword(0x20000), // mov [rbx + 20000h], rax
      ...hex('88 A3'),
      ...dword(0x40123), // mov [rbx + 40123h], ah
      ...hex('F0 48 0F C1 83'),
      ...dword(0x30000), // lock xadd [rbx + 30000h], rax
      ...hex('66 0F 6E C0 0F 11 83'),
      ...dword(0x50000), // movd xmm0, eax; movups [rbx + 50000h], xmm0
      ...hex('48 8D BB'),
      ...dword(0x60000), // lea rdi, [rbx + 60000h]
      ...hex('B9 05 00 00 00 F3 AA'), // mov ecx, 5; rep stosb
    ];
    guest.write(CODE, [...loop, 0xe9, ...dword(-(loop.length + 5))]);
    guest.setEntry(CODE, { rax: 1 });
    guest.vcpu.run(2_000_000);
    log.start();
    let changed = 0;
    for (let round = 0; round < 12; round++) {
      const before = Buffer.from(guest.ram);
      guest.vcpu.run(round % 3 === 0 ? 300_000 : 20_000);
      const noted = take();
      const pages = differing(before);
      assert.deepEqual(missing(noted, pages), [], `round ${round}`);
      changed += pages.length;
      assert.ok(noted.size < PAGES / 2, 'what the guest cannot write is not noted');
    }
    assert.ok(changed > 300, `${changed} pages changed`);
    log.stop();
  });

  test(`${tier}: code that changes, page tables, devices, and nothing once it is off`, async () => {
    const { guest, log, take, differing } = await guestWithLog(tier);
    const [code, data] = [0x30000, 0x31008];
    // inc dword [code + 100h], in the page that runs; mov [data], eax; hlt
    const program = [...hex('FF 04 25'), ...dword(code + 0x100), ...hex('89 04 25'), ...dword(data), 0xf4];
    const run = () => {
      guest.setEntry(code, { rax: 7 });
      guest.run();
    };
    guest.write(code, program);
    run();
    log.start();
    assert.deepEqual(take(), new Set());
    for (let round = 0; round < 2; round++) {
      run();
      assert.deepEqual(missing(take(), [code >> 12, data >> 12]), [], `round ${round}`);
    }
    // The walker sets accessed and dirty bits in tables that the program never writes.
    const before = Buffer.from(guest.ram);
    guest.view.setUint32(pageTable + 8 * 0x77, 0x77003, true);
    guest.write(code, [...hex('89 04 25'), ...dword(0x77010), 0xf4]);
    run();
    const noted = take();
    assert.deepEqual(missing(noted, differing(before)), []);
    assert.deepEqual(missing(noted, [pageTable >> 12, 0x77, code >> 12]), []);
    guest.write(0x55ff0, new Array(32).fill(1));
    assert.deepEqual(take(), new Set([0x55, 0x56]));
    log.stop();
    run();
    guest.write(0x55ff0, [1]);
    assert.deepEqual(take(), new Set());
  });
}

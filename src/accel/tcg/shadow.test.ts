/** STI holds interrupts back for one instruction, wherever execution pauses: `sti; hlt` never misses what woke it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dword, hex, lookNanos, smallGuest, tiers } from './testing/small-guest.ts';

/** STI is the last byte of a page. */
const code = 0x1_1000 - 15;
const timer = 0x20;
const [RBP, RSI] = [5, 6];

// mov edi, 1; round: mov ecx, edi; branches: dec ecx; jnz branches; cli; nop; sti; hlt; lea edi, [rdi+1]; and edi, 15; or edi, 1; jmp round
const start = hex('BF 01 00 00 00');
const body = hex('89 F9 FF C9 75 FC FA EB 00 FB F4 8D 7F 01 83 E7 0F 83 CF 01 EB EA');
const haltAt = code + start.length + 10;
// cmp dword [rsp], haltAt; jne + 2; inc ebp; inc esi; iretq
const handler = [0x81, 0x3c, 0x24, ...dword(haltAt), ...hex('75 02 FF C5 FF C6 48 CF')];

for (const tier of tiers) {
  describe(`the shadow of STI, ${tier}`, () => {
    it('no interrupt comes between STI and HLT', async () => {
      const guest = await smallGuest(tier);
      guest.write(code, [...start, ...body]);
      guest.handle(timer, handler);
      guest.setEntry(code);
      let pauses = 0;
      for (let i = 0; i < 60_000; i++) {
        // Each budget ends the slice, at any place of the loop.
        const exit = guest.vcpu.run((2 + (i % 5)) * lookNanos);
        if (exit.kind === 'slice') pauses++;
        guest.pendingVector = timer;
        guest.vcpu.interruptRequest();
      }
      assert.ok(pauses > 5, `${pauses} pauses`);
      assert.ok(guest.gpr(RSI) > 50_000);
      assert.equal(guest.gpr(RBP), 0, 'interrupts between STI and HLT');
    });
  });
}

/** Between CPL 0 and 3 in 64-bit mode, in every tier: SYSCALL and SYSRET, IRET, page faults, PCIDs, what CPL 3 may not do. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cr4Bits, state } from '../../target/index.ts';
import type { Tier } from './index.ts';
import { dword, hex, pageTable, type SmallGuest, smallGuest, tiers } from './testing/small-guest.ts';

const [RAX, RCX, RDX, RSI, R8, R11] = [0, 1, 2, 6, 8, 11];
const kernelEntry = 0x1_0100;
const systemCall = 0x1_1000;
const user = 0x2_0000;
const data = 0x3_0000;
const { GP, PF, UD, DB } = state.vector;
const userCode = 0x2b;
const userData = 0x23;
/** Enough rounds of a loop for `auto` to translate it. */
const rounds = 20_000;

/** mov rcx, user; mov r11d, flags; sysretq */
const toUser = (flags: number): number[] => [
  0x48,
  0xc7,
  0xc1,
  ...dword(user),
  0x41,
  0xbb,
  ...dword(flags),
  0x48,
  0x0f,
  0x07,
];
/** mov ebx, n; loop: `body`; dec ebx; jnz loop; hlt, which faults at CPL 3 */
const repeated = (n: number, body: readonly number[]): number[] => [
  ...[0xbb, ...dword(n), ...body],
  ...[...hex('FF CB 0F 85'), ...dword(-body.length - 8), 0xf4],
];
const SYSCALL = hex('0F 05');
const SYSRETQ = hex('48 0F 07');

interface Setup {
  readonly user: readonly number[];
  readonly kernel?: readonly number[];
  readonly flags?: number;
  readonly prepare?: (guest: SmallGuest) => void;
}

/** Runs to a HLT in ring 0; the fault handlers halt. */
async function run(tier: Tier, setup: Setup): Promise<SmallGuest> {
  const guest = await smallGuest(tier);
  guest.allowUser(user, data);
  guest.write(kernelEntry, toUser(setup.flags ?? 2));
  guest.write(user, setup.user);
  guest.write(systemCall, setup.kernel ?? SYSRETQ);
  guest.setEntry(kernelEntry);
  const { cpu } = guest;
  cpu.set(state.efer, cpu.get(state.efer) | 1);
  cpu.setBig(state.star, (0x18n << 48n) | (0x10n << 32n));
  cpu.setBig(state.lstar, BigInt(systemCall));
  cpu.setBig(state.sfmask, 0x4_7700n);
  setup.prepare?.(guest);
  assert.deepEqual(guest.run(), { kind: 'halt' });
  return guest;
}

for (const tier of tiers) {
  describe(`privilege, ${tier}`, () => {
    it('SYSCALL and SYSRET by turns', async () => {
      // kernel: inc rax; sysretq
      const kernel = [...hex('48 FF C0'), ...SYSRETQ];
      const guest = await run(tier, { user: repeated(rounds, SYSCALL), kernel });
      assert.equal(guest.gpr(RAX), rounds);
      assert.equal(guest.halted, GP);
      assert.equal(guest.gpr(RCX), user + 7);
      // DEC from 2 to 1 has left no flag but the fixed bit.
      assert.equal(guest.gpr(R11), 2);
      // Error code, RIP, CS, RFLAGS, RSP, SS; DEC to 0 has set ZF and PF.
      assert.deepEqual(
        [0, 1, 2, 3, 5].map((i) => guest.frame(i)),
        [0, user + 15, userCode, 0x1_0046, userData],
      );
    });

    it('SYSCALL masks flags, saves them, and SYSRET brings them back', async () => {
      // user: std; stc; syscall; hlt. kernel: pushf; pop rdx; sysretq
      const guest = await run(tier, {
        user: [...hex('FD F9'), ...SYSCALL, 0xf4],
        kernel: [...hex('9C 5A'), ...SYSRETQ],
      });
      assert.equal(guest.gpr(R11), 0x403);
      assert.equal(guest.gpr(RDX), 0x3);
      assert.equal(guest.frame(3), 0x1_0403);
    });

    it('AC that SYSCALL keeps lifts SMAP', async () => {
      // user: pushf; or dword [rsp], 40000h; popf; syscall; hlt. kernel: mov rsp, A000h; mov eax, [data]; sysretq
      const setup = {
        user: [...hex('9C 81 0C 24 00 00 04 00 9D'), ...SYSCALL, 0xf4],
        kernel: [...hex('48 C7 C4 00 A0 00 00 8B 04 25'), ...dword(data), ...SYSRETQ],
      };
      const smap = (mask: bigint) => (guest: SmallGuest) => {
        guest.cpu.setBig(state.gpr[4], BigInt(data + 0x800));
        guest.cpu.set(state.cr4, guest.cpu.get(state.cr4) | cr4Bits.SMAP);
        guest.cpu.setBig(state.sfmask, mask);
        guest.write(data, dword(77));
      };
      assert.equal((await run(tier, { ...setup, prepare: smap(0n) })).gpr(RAX), 77);
      const cleared = await run(tier, { ...setup, prepare: smap(0x4_0000n) });
      assert.equal(cleared.halted, PF);
    });

    it('SYSCALL without EFER.SCE, SYSRET to a non-canonical address', async () => {
      const off = await run(tier, {
        user: [...SYSCALL, 0xf4],
        // mov ecx, C0000080h; rdmsr; and eax, ~1; wrmsr; mov rcx, user; sysretq: faults
        kernel: [...hex('B9 80 00 00 C0 0F 32 24 FE 0F 30'), ...toUser(2)],
      });
      assert.equal(off.halted, UD);
      assert.equal(off.frame(1), 0x10);
      // mov rcx, 1 << 47; sysretq
      const wild = await run(tier, { user: SYSCALL, kernel: [...hex('48 B9 00 00 00 00 00 80 00 00'), ...SYSRETQ] });
      assert.equal(wild.halted, GP);
      assert.equal(wild.frame(1), systemCall + 10);
      assert.equal(wild.frame(2), 0x10);
    });

    it('page faults at CPL 3: error code, CR2, and back by IRET', async () => {
      const guest = await run(tier, {
        // mov esi, data; loop: add dword [rsi], 1
        user: [0xbe, ...dword(data), ...repeated(200, hex('83 06 01'))],
        prepare: (g) => {
          const entry = pageTable + 8 * (data >> 12);
          g.view.setBigUint64(entry, BigInt(data | 6), true);
          // mov r8, cr2; or r9, [rsp] (the error code); pop rdx; or byte [entry], 1; inc r10; iretq
          const handler = [...hex('41 0F 20 D0'), ...hex('4C 0B 0C 24 5A 80 0C 25')];
          g.handle(PF, [...handler, ...dword(entry), 1, ...hex('49 FF C2 48 CF')]);
        },
      });
      assert.equal(guest.halted, GP);
      assert.equal(guest.gpr(R8), data);
      assert.equal(guest.gpr(9), 6);
      assert.equal(guest.gpr(10), 1);
      assert.equal(guest.view.getUint32(data, true), 200);
    });

    it('a fault within a handler: IRET with a null SS within ring 0, then to CPL 3', async () => {
      const hole = 0x5_0000;
      const entry = pageTable + 8 * (hole >> 12);
      const guest = await run(tier, {
        user: repeated(rounds / 10, hex('0F 0B')),
        prepare: (g) => {
          // ud2's handler: and byte [entry], FEh; invlpg [hole]; mov eax, [hole]; add qword [rsp], 2; iretq
          const touch = [...hex('0F 01 3C 25'), ...dword(hole), ...hex('8B 04 25'), ...dword(hole)];
          g.handle(UD, [...hex('80 24 25'), ...dword(entry), 0xfe, ...touch, ...hex('48 83 04 24 02 48 CF')]);
          // mov edx, ss; pop rsi (error); or byte [entry], 1; inc r8; iretq
          g.handle(PF, [...hex('8C D2 5E 80 0C 25'), ...dword(entry), 1, ...hex('49 FF C0 48 CF')]);
        },
      });
      assert.equal(guest.halted, GP);
      assert.equal(guest.gpr(R8), rounds / 10);
      assert.equal(guest.gpr(RDX), 0);
      assert.equal(guest.gpr(RSI), 0);
      assert.equal(guest.frame(1), user + 15);
    });

    it('IRET to CPL 3 nulls data segments of ring 0 and refuses wrong descriptors', async () => {
      // mov eax, 18h; mov ds, eax; push userData; push data + 100h; push 2; push CS; push user; iretq
      const frame = (selector: number) => [
        ...hex('B8 18 00 00 00 8E D8'),
        ...[
          0x6a,
          userData,
          0x68,
          ...dword(data + 0x100),
          0x6a,
          2,
          0x6a,
          selector,
          0x68,
          ...dword(user + 2),
          0x48,
          0xcf,
        ],
      ];
      const good = await run(tier, { user: [...SYSCALL, ...hex('8C D8 F4')], kernel: frame(userCode) });
      assert.equal(good.halted, GP);
      assert.equal(good.frame(1), user + 4);
      assert.equal(good.gpr(RAX), 0);
      const bad = await run(tier, { user: SYSCALL, kernel: frame(0x23) });
      assert.equal(bad.halted, GP);
      assert.equal(bad.frame(0), 0x20);
      assert.equal(bad.frame(2), 0x10);
    });

    it('SYSRET with TF: the trap comes after one instruction', async () => {
      const guest = await run(tier, { user: hex('FF C0 FF C0 F4'), flags: 0x102 });
      assert.equal(guest.halted, DB);
      assert.equal(guest.frame(0), user + 2);
    });

    it('an interrupt that waits for SYSRET comes at once', async () => {
      const vector = 0x30;
      const guest = await run(tier, {
        user: [...SYSCALL, ...hex('FF C0 F4')],
        // or r11, 200h; out 80h, al; sysretq
        kernel: [...hex('49 81 CB 00 02 00 00 E6 80'), ...SYSRETQ],
        prepare: (g) => {
          g.onPortWrite = () => {
            g.pendingVector = vector;
            g.vcpu.interruptRequest();
          };
        },
      });
      assert.equal(guest.halted, vector);
      assert.equal(guest.frame(0), user + 2);
    });

    it('control registers, the TSC and segment bases from CPL 3', async () => {
      assert.equal((await run(tier, { user: hex('0F 20 D8') })).halted, GP);
      // rdtsc; mov ecx, edx; mov esi, eax; rdtscp; hlt
      const tsc = await run(tier, { user: hex('0F 31 89 C6 41 89 D0 0F 01 F9 F4') });
      assert.ok(tsc.gpr(RDX) * 2 ** 32 + tsc.gpr(RAX) > tsc.gpr(R8) * 2 ** 32 + tsc.gpr(RSI));
      const on = (bits: number) => (g: SmallGuest) => g.cpu.set(state.cr4, g.cpu.get(state.cr4) | bits);
      assert.equal((await run(tier, { user: hex('0F 31'), prepare: on(cr4Bits.TSD) })).halted, GP);
      assert.equal((await run(tier, { user: hex('F3 48 0F AE C0') })).halted, UD);
      // mov eax, 1234h; wrfsbase rax; rdfsbase rdx; mov rax, 1 << 47; wrgsbase rax
      const bases = hex('B8 34 12 00 00 F3 48 0F AE D0 F3 48 0F AE C2 48 B8 00 00 00 00 00 80 00 00 F3 48 0F AE D8');
      const guest = await run(tier, { user: bases, prepare: on(cr4Bits.FSGSBASE) });
      assert.equal(guest.gpr(RDX), 0x1234);
      assert.equal(guest.halted, GP);
      assert.equal(guest.frame(1), user + 25);
    });

    describe('PCIDs', () => {
      const tables = 0x4_0000;
      const other = data + 0x1000;
      /** Two address spaces, of PCIDs 1 and 2, where `data` is one page or the other; the system call switches between them. */
      const spaces = (g: SmallGuest) => {
        g.copyTables(tables);
        g.view.setBigUint64(tables + 0x3000 + 8 * (data >> 12), BigInt(other | 7), true);
        g.write(data, dword(1));
        g.write(other, dword(5));
        g.cpu.set(state.cr4, g.cpu.get(state.cr4) | cr4Bits.PCIDE);
        // R12 and R13: the two values of CR3, which keep what is cached.
        g.cpu.setBig(state.gpr[12], (1n << 63n) | 0x1001n);
        g.cpu.setBig(state.gpr[13], (1n << 63n) | BigInt(tables | 2));
      };
      // add eax, [data]; syscall
      const user = repeated(rounds / 10, [...hex('03 04 25'), ...dword(data), ...SYSCALL]);
      // xchg r12, r13; mov cr3, r12
      const turn = hex('4D 87 EC 41 0F 22 DC');

      it('each address space sees its own page, with and without the bit that keeps', async () => {
        const guest = await run(tier, { user, kernel: [...turn, ...SYSRETQ], prepare: spaces });
        assert.equal(guest.gpr(RAX), (rounds / 20) * 6);
        const flushing = await run(tier, {
          user,
          kernel: [...turn, ...SYSRETQ],
          prepare: (g) => {
            spaces(g);
            for (const i of [12, 13]) g.cpu.setBig(state.gpr[i], BigInt.asUintN(63, g.cpu.getBig(state.gpr[i])));
          },
        });
        assert.equal(flushing.gpr(RAX), (rounds / 20) * 6);
      });

      it('INVPCID of each type forgets a page of an address space that comes back', async () => {
        const entry = tables + 0x3000 + 8 * (data >> 12);
        const descriptor = 0x1_2000;
        for (const type of [0, 1, 2, 3]) {
          // At each system call: xor dword [entry], 1000h; mov edx, type; invpcid rdx, [descriptor]; turn; sysretq
          const change = [...hex('81 34 25'), ...dword(entry), ...dword(0x1000), 0xba, ...dword(type)];
          const guest = await run(tier, {
            user,
            kernel: [...change, ...hex('66 0F 38 82 14 25'), ...dword(descriptor), ...turn, ...SYSRETQ],
            prepare: (g) => {
              spaces(g);
              g.view.setBigUint64(descriptor, 2n, true);
              g.view.setBigUint64(descriptor + 8, BigInt(data), true);
            },
          });
          // Space 2 runs after an odd number of changes, when its page is that of space 1.
          assert.equal(guest.gpr(RAX), (rounds / 20) * 2, `type ${type}`);
        }
      });
    });
  });
}

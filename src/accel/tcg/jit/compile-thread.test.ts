/** Regions that are made while the guest runs on: what becomes of them when they come. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { HostThread, ThreadContext } from '../../../contract/index.ts';
import { createTcg, serveRegionCompiler, type TcgStatistics } from '../index.ts';
import { dword, hex, ramSize, SmallGuest } from '../testing/small-guest.ts';

const at = 0x1_0100;
const RAX = 0;
const rounds = 2_000_000;
/** mov ecx, rounds; again: add eax, STEP; dec ecx; jnz again; hlt */
const loop = (step: number): number[] => [0xb9, ...dword(rounds), 0x83, 0xc0, step, ...hex('FF C9 75 F9 F4')];

/** A thread in this one, whose answers come when they are let through. */
class HeldThread {
  readonly thread: HostThread;
  private toThread: (message: unknown) => void = () => {};
  private toStarter: (message: unknown) => void = () => {};
  private tellEnd: (reason: string) => void = () => {};
  private readonly answers: unknown[] = [];

  constructor() {
    this.thread = {
      post: (message) => this.toThread(message),
      connect: (receiver) => {
        this.toStarter = receiver;
      },
      onEnd: (receiver) => {
        this.tellEnd = receiver;
      },
      terminate: async () => {},
    };
    const context: ThreadContext = {
      post: (message) => this.answers.push(message),
      connect: (receiver) => {
        this.toThread = receiver;
      },
      monotonicNanos: () => 0,
      wallMillis: () => 0,
      nextTurn: () => setImmediate(),
      sleep: () => Promise.reject(new Error('the compiler does not sleep')),
      wake: () => {},
    };
    serveRegionCompiler(context, (bytes) => new WebAssembly.Module(bytes));
  }

  /** Waits until an answer is there. */
  async answer(): Promise<void> {
    while (this.answers.length === 0) await setImmediate();
  }

  deliver(): void {
    for (const answer of this.answers.splice(0)) this.toStarter(answer);
  }

  end(): void {
    this.tellEnd('for the test');
  }
}

describe('a thread that translates', () => {
  const start = async () => {
    const held = new HeldThread();
    const startCompiler = () => held.thread;
    const tcg = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }], startCompiler });
    const guest = new SmallGuest(tcg);
    guest.write(at, loop(1));
    guest.setEntry(at);
    return { held, guest, statistics: () => (guest.vcpu as unknown as { statistics(): TcgStatistics }).statistics() };
  };
  const slices = (guest: SmallGuest, count: number) => {
    for (let i = 0; i < count; i++) assert.equal(guest.vcpu.run(100_000).kind, 'slice');
  };

  it('makes a region, then a final one; the guest runs on meanwhile', async () => {
    const { held, guest, statistics } = await start();
    slices(guest, 2);
    await held.answer();
    assert.equal(statistics().translations, 0);
    held.deliver();
    assert.deepEqual([statistics().translations, statistics().retranslations], [1, 0]);
    slices(guest, 2);
    await held.answer();
    held.deliver();
    assert.deepEqual([statistics().translations, statistics().retranslations], [2, 1]);
    assert.equal(guest.run(100_000, 20_000).kind, 'halt');
    assert.equal(guest.gpr(RAX), rounds);
    assert.deepEqual([statistics().translations, statistics().lateTranslations], [2, 0]);
  });

  it('comes too late for code that has changed; the new code is made in its place', async () => {
    const { held, guest, statistics } = await start();
    slices(guest, 2);
    await held.answer();
    const before = guest.gpr(RAX);
    guest.write(at, loop(2));
    held.deliver();
    assert.deepEqual([statistics().translations, statistics().lateTranslations], [0, 1]);
    slices(guest, 2);
    await held.answer();
    held.deliver();
    assert.equal(statistics().translations, 1);
    assert.equal(guest.run(100_000, 20_000).kind, 'halt');
    assert.equal(guest.gpr(RAX), before + 2 * (rounds - before));
  });

  it('ends: from then on the vCPU’s thread translates', async () => {
    const { held, guest, statistics } = await start();
    slices(guest, 2);
    await held.answer();
    held.end();
    assert.equal(guest.run(100_000, 20_000).kind, 'halt');
    assert.equal(guest.gpr(RAX), rounds);
    assert.deepEqual([statistics().codeFlushes, statistics().translations], [1, 2]);
  });
});

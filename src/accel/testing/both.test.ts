/** The same small guests on both accelerators: what they write to ports, and the state in which they end, are equal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BootEntry, DeviceRecord } from '../../contract/index.ts';
import { nodeKvmHost } from '../../host/node/index.ts';
import { X86_CPU, type X86CpuRecord } from '../../target/index.ts';
import { createKvm } from '../kvm/index.ts';
import { kvmMissing } from '../kvm/testing/tiny-guest.ts';
import { createTcg } from '../tcg/index.ts';
import { plainBus, plainEnvironment } from '../tcg/testing/environment.ts';

const RAM_BYTES = 2 * 1024 * 1024;
const [CODE, STACK, TABLES, GDT] = [0x1000, 0x8000, 0x2000, 0x500];
/** add rbp, 1: a multiplication or shift leaves some flags undefined. */
const DEFINE_FLAGS = [0x48, 0x83, 0xc5, 0x01];
const [HLT, OUT_DONE] = [0xf4, [0xe6, 0x99]]; // out 99h, al: the end is near

/** Integer code of ring 0, which every KVM runs, a PVM too. */
const PROGRAMS: readonly (readonly [name: string, code: readonly number[], mode?: BootEntry['mode']])[] = [
  [
    'arithmetic and flags',
    [0xb8, 0xff, 0xff, 0xff, 0x7f, 0x83, 0xc0, 0x01, 0x0f, 0x92, 0xc3, 0x0f, 0x90, 0xc1, 0x9c, 0x5e],
  ],
  ['64-bit multiplication', [0x48, 0xc7, 0xc0, 0xfd, 0xff, 0xff, 0xff, 0xb9, 0x07, 0, 0, 0, 0x48, 0xf7, 0xe9]],
  ['shifts', [0xb8, 0x01, 0, 0, 0x80, 0xc1, 0xe0, 0x04, 0xd1, 0xf8, 0xbb, 0x34, 0x12, 0, 0, 0xc1, 0xc3, 0x08]],
  [
    'a loop with memory',
    [
      0x31, 0xc0, 0xb9, 0x20, 0, 0, 0, 0x01, 0x04, 0x25, 0, 0x60, 0, 0, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf3, 0x8b, 0x1c,
      0x25, 0, 0x60, 0, 0,
    ],
  ],
  ['calls and the stack', [0xe8, 0x02, 0, 0, 0, 0xeb, 0x05, 0x50, 0xff, 0xc0, 0x5b, 0xc3, 0x9c, 0x5a]],
  ['ports in and out', [0x66, 0xba, 0x34, 0x12, 0xec, 0x66, 0xed, 0xed, 0xef, 0xee]],
  [
    'string instructions',
    [
      0xbf, 0, 0x60, 0, 0, 0xb8, 0x61, 0x62, 0x63, 0x64, 0xb9, 0x10, 0, 0, 0, 0xf3, 0xab, 0xbe, 0, 0x60, 0, 0, 0xb9,
      0x20, 0, 0, 0, 0xf3, 0xa4,
    ],
  ],
  [
    'division, and conditional moves',
    [
      ...[0xb8, 0xe8, 0x03, 0, 0, 0x31, 0xd2, 0xbb, 0x07, 0, 0, 0, 0xf7, 0xf3], // mov eax, 1000; xor edx, edx; mov ebx, 7; div ebx
      ...[0x39, 0xc2, 0x0f, 0x42, 0xca, 0x0f, 0x9c, 0xc0], // cmp edx, eax; cmovb ecx, edx; setl al
      ...[0x48, 0x0f, 0xbe, 0xf3, 0x0f, 0xb7, 0xfb], // movsx rsi, bl; movzx edi, bx
    ],
  ],
  [
    'bits',
    [
      ...[0xb8, 0x50, 0x80, 0, 0, 0x0f, 0xbc, 0xc8, 0x0f, 0xbd, 0xd0], // mov eax, 8050h; bsf ecx, eax; bsr edx, eax
      ...[0x0f, 0xba, 0xe8, 0x03, 0x0f, 0xba, 0xf0, 0x04, 0x0f, 0xc8], // bts eax, 3; btr eax, 4; bswap eax
      ...[0xbb, 0x0f, 0x0f, 0, 0, 0x0f, 0xa4, 0xc3, 0x08], // mov ebx, f0fh; shld ebx, eax, 8
    ],
  ],
  [
    'exchanges in memory',
    [
      ...[0xc7, 0x04, 0x25, 0, 0x60, 0, 0, 5, 0, 0, 0, 0xb8, 5, 0, 0, 0, 0xb9, 9, 0, 0, 0], // mov dword [6000h], 5; mov eax, 5; mov ecx, 9
      ...[0xf0, 0x0f, 0xb1, 0x0c, 0x25, 0, 0x60, 0, 0], // lock cmpxchg [6000h], ecx
      ...[0xf0, 0x0f, 0xc1, 0x04, 0x25, 0, 0x60, 0, 0, 0x87, 0x0c, 0x25, 4, 0x60, 0, 0], // lock xadd [6000h], eax; xchg [6004h], ecx
    ],
  ],
  [
    'protected mode: calls, the stack and a loop',
    [
      ...[0xbc, 0x00, 0x80, 0, 0, 0xb9, 4, 0, 0, 0, 0x31, 0xc0], // mov esp, 8000h; mov ecx, 4; xor eax, eax
      ...[0x01, 0xc8, 0x50, 0xe2, 0xfb, 0x5b, 0x5a], // l: add eax, ecx; push eax; loop l; pop ebx; pop edx
      ...[0xe8, 2, 0, 0, 0, 0xeb, 4, 0xff, 0xc6, 0xc3, 0x90, 0x90], // call f; jmp out; f: inc esi; ret; nop; out: nop
    ],
    'protected32',
  ],
  [
    'real mode: segments, words and a string',
    [
      ...[0xb8, 0x00, 0x06, 0x8e, 0xc0, 0x8e, 0xd8, 0x31, 0xff], // mov ax, 600h; mov es, ax; mov ds, ax; xor di, di
      ...[0xb8, 0x34, 0x12, 0xb9, 8, 0, 0xf3, 0xab], // mov ax, 1234h; mov cx, 8; rep stosw
      ...[0xa1, 2, 0, 0xbb, 3, 0, 0xf7, 0xe3, 0x26, 0xa3, 0x20, 0], // mov ax, [2]; mov bx, 3; mul bx; mov es:[20h], ax
      ...[0xbc, 0x00, 0x80, 0x50, 0x1e, 0x5e, 0x5f], // mov sp, 8000h; push ax; push ds; pop si; pop di
    ],
    'real16',
  ],
];

interface Ended {
  readonly state: X86CpuRecord;
  readonly writes: readonly (readonly number[])[];
  readonly memory: Uint8Array;
}

const ENTRY: BootEntry = {
  mode: 'long64',
  rip: CODE,
  registers: { rsp: STACK, rbp: 0x1234 },
  cr3: TABLES,
  gdt: { base: GDT, limit: 0x1f },
};

function prepare(memory: Uint8Array, code: readonly number[]): void {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  memory.set([...code, ...DEFINE_FLAGS, ...OUT_DONE, HLT], CODE);
  view.setBigUint64(TABLES, BigInt(TABLES + 0x1003), true);
  view.setBigUint64(TABLES + 0x1000, BigInt(TABLES + 0x2003), true);
  view.setBigUint64(TABLES + 0x2000, 0x83n, true);
  view.setBigUint64(GDT + 0x10, 0x00af_9b00_0000_ffffn, true);
  view.setBigUint64(GDT + 0x18, 0x00cf_9300_0000_ffffn, true);
}

/** Reads count up, so that their order is seen. */
function countingPorts(writes: number[][]) {
  let reads = 0x11;
  return plainBus(
    (port, size, value) => void writes.push([port, size, value]),
    () => reads++ * 0x0101_0101,
  );
}

async function onTcg(code: readonly number[], entry: BootEntry): Promise<Ended> {
  const writes: number[][] = [];
  const { memory, createVcpu } = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: RAM_BYTES }] });
  const ram = memory.view(0, RAM_BYTES)!;
  prepare(ram, code);
  const vcpu = createVcpu(plainEnvironment(memory, countingPorts(writes)));
  vcpu.setEntry(entry);
  while (vcpu.run(1e7).kind === 'slice');
  return { state: X86_CPU.load(vcpu.snapshot()), writes, memory: ram };
}

async function onKvm(code: readonly number[], entry: BootEntry): Promise<Ended> {
  const writes: number[][] = [];
  const now = () => performance.now() * 1e6;
  const options = { cpuModel: 'max', ramRanges: [{ base: 0, size: RAM_BYTES }], monotonicNanos: now };
  const kvm = createKvm(nodeKvmHost(), options);
  kvm.createInterrupts(0);
  const ram = kvm.memory.view(0, RAM_BYTES)!;
  prepare(ram, code);
  const vcpus = kvm.createVcpus({ mmio: plainBus(), ports: countingPorts(writes), mayContinue: () => true });
  vcpus.reset(entry);
  vcpus.resume();
  try {
    let record: DeviceRecord;
    do {
      while (writes.at(-1)?.[0] !== 0x99) {
        if (!vcpus.serve()) vcpus.wait(1e7);
        const event = vcpus.takeEvent();
        if (event !== undefined) throw new Error(`the guest ended before its program: ${JSON.stringify(event)}`);
      }
      vcpus.pause();
      [record] = vcpus.snapshot();
      vcpus.resume();
    } while (record.activity !== 'halted');
    return { state: X86_CPU.load(record), writes, memory: ram.slice() };
  } finally {
    await vcpus.close();
    kvm.close();
  }
}

for (const [name, code, mode = 'long64'] of PROGRAMS) {
  test(`equal on KVM and on the software CPU: ${name}`, { skip: kvmMissing }, async () => {
    const entry = mode === 'long64' ? ENTRY : { mode, rip: CODE, registers: { rbp: 0x1234 } };
    const [kvm, tcg] = [await onKvm(code, entry), await onTcg(code, entry)];
    assert.deepEqual(kvm.writes, tcg.writes);
    assert.deepEqual(Buffer.from(kvm.memory).compare(tcg.memory), 0, 'RAM');
    assert.deepEqual(comparable(kvm.state), comparable(tcg.state));
  });
}

/** The architecture's state; what the processors' models and clocks make different is left out. */
function comparable({ general, rip, rflags, segments, gdtr, idtr, cr0, cr3, cr4, efer, activity, dr7 }: X86CpuRecord) {
  const ACCESSED = 1; // set by a load of the descriptor, which one of them has done
  const plain = Object.entries(segments).map(([name, { selector, base, limit, rights }]) => {
    return [name, selector, base, limit, (rights & 0x1_0000) === 0 ? rights | ACCESSED : 'unusable'];
  });
  return { general, rip, rflags, segments: plain, gdtr, idtr, cr0, cr3, cr4, efer, activity, dr7 };
}

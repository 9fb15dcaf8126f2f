/** The smallest machine that guests of tests/guests run on: RAM, the debug port 0xE9, the exit port 0xF4, port 0x92. */
import { readFileSync } from 'node:fs';
import { createTcg, type Tier } from '../../index.ts';
import { plainBus, plainEnvironment } from '../environment.ts';

const ramSize = 64 << 20;
const sliceNanos = 20e6;
const outputLimit = 1 << 16;

export interface GuestRun {
  /** What it wrote to the debug port. */
  readonly output: string;
  /** How it ended: by its own exit, or in one line why not. */
  readonly end: string;
}

/** Runs a multiboot ELF file until it writes to the exit port, dies, or takes more than `limitMillis`. */
export async function runGuest(path: string, tier: Tier, limitMillis: number): Promise<GuestRun> {
  const { memory, createVcpu } = await createTcg({ cpuModel: 'max', ramRanges: [{ base: 0, size: ramSize }], tier });
  let output = '';
  let exited = false;
  let portA20 = 2;
  const ports = plainBus(
    (port, _, value) => {
      if (port === 0xe9 && output.length < outputLimit) output += String.fromCharCode(value & 0xff);
      else if (port === 0xf4) exited = true;
      else if (port === 0x92) {
        portA20 = value;
        vcpu.setA20((value & 2) !== 0);
      }
    },
    (port) => (port === 0x92 ? portA20 : 0xffff_ffff),
  );
  const vcpu = createVcpu(plainEnvironment(memory, ports));
  const entry = loadElf(readFileSync(path), (address, bytes) => {
    memory.view(address, bytes.length)?.set(bytes);
    memory.written(address, bytes.length);
  });
  vcpu.setEntry({ mode: 'protected32', rip: entry, registers: { rax: 0x2bad_b002 } });
  for (const end = performance.now() + limitMillis; ; ) {
    const exit = vcpu.run(sliceNanos);
    if (exited) return { output, end: 'exit' };
    if (output.length >= outputLimit) return { output, end: `more than ${outputLimit} characters of output` };
    if (exit.kind === 'shutdown') return { output, end: exit.reason };
    if (exit.kind === 'halt' && vcpu.haltedForever) return { output, end: 'halted with interrupts off' };
    if (performance.now() > end) return { output, end: `still running after ${limitMillis} ms\n${vcpu.describe()}` };
  }
}

/** Hands the PT_LOAD segments of a 32-bit ELF file over by physical address; returns the entry point. */
function loadElf(file: Buffer, put: (address: number, bytes: Uint8Array) => void): number {
  const headers = file.readUInt32LE(28);
  const size = file.readUInt16LE(42);
  for (let i = 0; i < file.readUInt16LE(44); i++) {
    const header = headers + i * size;
    if (file.readUInt32LE(header) !== 1) continue;
    const [offset, , physical, fileSize] = [4, 8, 12, 16].map((at) => file.readUInt32LE(header + at));
    if (fileSize) put(physical, file.subarray(offset, offset + fileSize));
  }
  return file.readUInt32LE(24);
}

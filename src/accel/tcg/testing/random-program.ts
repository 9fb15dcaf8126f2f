/** Random programs of integer and SSE instructions with any control flow, that end. */
import { state } from '../../../target/index.ts';
import type { Random } from './differential/random.ts';
import { dword, type SmallGuest } from './small-guest.ts';

/** Where `startRandomProgram` puts programs and what they read and write. */
export const programStart = 0x1_0100;
export const dataStart = 0x2_0800;
/** Bytes of memory from RBP that programs read and write. */
export const dataSize = 0x1800;
const [RSP, RBP, R15] = [4, 5, 15];

/** A ModRM form: opcode bytes with optional prefix, register field, and a register or memory operand. */
function form(
  r: Random,
  opcode: readonly number[],
  register: number,
  options: { size?: 1 | 2 | 4 | 8; prefix?: number; memory?: boolean; other?: number },
): number[] {
  const { size = 4, prefix, memory = r.chance(30), other = general(r) } = options;
  const out: number[] = [];
  if (prefix !== undefined) out.push(prefix);
  if (size === 2) out.push(0x66);
  const base = memory ? RBP : other;
  // Always a REX prefix, so that bytes of RSI and RDI can be named.
  out.push(0x40 | (size === 8 ? 8 : 0) | ((register >> 3) << 2) | (base >> 3));
  out.push(...opcode);
  out.push((memory ? 0x80 : 0xc0) | ((register & 7) << 3) | (base & 7));
  if (memory) out.push(...dword(r.below(dataSize - 16)));
  return out;
}

/** A register that programs change: not RSP, RBP (data) or R15 (fuel). */
function general(r: Random): number {
  for (;;) {
    const i = r.below(16);
    if (i !== RSP && i !== RBP && i !== R15) return i;
  }
}

const sizes = [1, 2, 4, 8] as const;
const wideSizes = [2, 4, 8] as const;
/** Of MMX-style integer instructions 66 0F op. */
const vectorOpcodes = [
  0xfc, 0xfd, 0xfe, 0xd4, 0xf8, 0xf9, 0xfa, 0xfb, 0xdb, 0xdf, 0xeb, 0xef, 0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66,
  0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x74, 0x75, 0x76, 0xd5, 0xe5, 0xf4, 0xf5, 0xf6, 0xda, 0xde, 0xea, 0xee,
] as const;

type Make = (r: Random) => number[];
const makers: readonly Make[] = [
  // ADD OR ADC SBB AND SUB XOR CMP, three ways.
  (r) => alu(r, r.below(8) * 8 + (r.chance(50) ? 2 : 0)),
  (r) => alu(r, r.below(8) * 8 + (r.chance(50) ? 2 : 0)),
  (r) => [...form(r, [0x83], r.below(8), { size: r.pick(wideSizes) }), r.below(256)],
  (r) => alu(r, 0x88), // MOV
  (r) => alu(r, 0x8a),
  (r) => alu(r, 0x84), // TEST
  (r) => alu(r, 0x86), // XCHG
  (r) => [...form(r, [0xc7], 0, { size: 8 }), ...dword(r.u32())],
  (r) => form(r, [0x8d], general(r), { size: r.pick([4, 8]), memory: true }), // LEA
  // Shifts and rotates by an immediate, by 1, by CL.
  (r) => [...sized(r, 0xc0, r.below(8)), r.below(70)],
  (r) => sized(r, 0xd0, r.below(8)),
  (r) => sized(r, 0xd2, r.below(8)),
  (r) => [...form(r, [0x0f, r.pick([0xa4, 0xac])], general(r), { size: r.pick([4, 8]) }), r.below(64)], // SHLD, SHRD
  (r) => form(r, [0x0f, r.pick([0xa5, 0xad])], general(r), { size: r.pick([4, 8]) }),
  (r) => sized(r, 0xfe, r.below(2)), // INC, DEC
  (r) => sized(r, 0xf6, 2 + r.below(4)), // NOT, NEG, MUL, IMUL
  (r) => form(r, [0x0f, 0xaf], general(r), { size: r.pick(wideSizes) }), // IMUL
  (r) => form(r, [0x0f, r.pick([0xb6, 0xb7, 0xbe, 0xbf])], general(r), { size: r.pick([4, 8]) }), // MOVZX, MOVSX
  (r) => form(r, [0x0f, 0x90 + r.below(16)], 0, { size: 1 }), // SETcc
  (r) => form(r, [0x0f, 0x40 + r.below(16)], general(r), { size: r.pick(wideSizes) }), // CMOVcc
  (r) => [...form(r, [0x0f, 0xba], 4 + r.below(4), { size: r.pick([4, 8]) }), r.below(64)], // BT BTS BTR BTC
  (r) => form(r, [0x0f, r.pick([0xc0, 0xc1])], general(r), { size: 4 }), // XADD
  (r) => form(r, [0x0f, r.pick([0xb0, 0xb1])], general(r), { size: 8 }), // CMPXCHG
  (r) => [0x50 | r.below(4), 0x58 | r.below(4)], // PUSH, POP
  (r) => r.pick([[0xf5], [0xf8], [0xf9], [0x98], [0x48, 0x98], [0x99], [0x48, 0x99], [0x9f], [0x9e]]),
  (r) => [0x41, 0x0f, 0xc8 + r.below(4)], // BSWAP
  (r) => form(r, [0x0f, r.pick([0xbc, 0xbd])], general(r), { size: 8 }), // BSF, BSR
  (r) => form(r, [0x0f, r.pick(vectorOpcodes)], r.below(16), { prefix: 0x66, memory: false, other: r.below(16) }),
  (r) => form(r, [0x0f, r.pick(vectorOpcodes)], r.below(16), { prefix: 0x66, memory: false, other: r.below(16) }),
  (r) => [...form(r, [0x0f, 0x70], r.below(16), { prefix: 0x66, memory: false, other: r.below(16) }), r.below(256)],
  (r) => form(r, [0x0f, r.pick([0x6f, 0x7f])], r.below(16), { prefix: 0xf3, other: r.below(16) }), // MOVDQU
  (r) => form(r, [0x0f, r.pick([0x6e, 0x7e])], r.below(16), { prefix: 0x66, size: r.pick([4, 8]) }), // MOVD, MOVQ
  (r) => [...form(r, [0x0f, 0xc4], r.below(16), { prefix: 0x66 }), r.below(8)], // PINSRW
  (r) => form(r, [0x0f, 0xd7], general(r), { prefix: 0x66, memory: false, other: r.below(16) }), // PMOVMSKB
  (r) => form(r, [0x0f, 0x2a], r.below(16), { prefix: 0xf2, size: 8 }), // CVTSI2SD
];

/** An instruction with a byte form at the even opcode and a wide form behind it. */
function sized(r: Random, opcode: number, register: number): number[] {
  const size = r.pick(sizes);
  return form(r, [opcode | (size > 1 ? 1 : 0)], register, { size });
}

function alu(r: Random, opcode: number): number[] {
  return sized(r, opcode, general(r));
}

/**
 * Blocks of random instructions that each burn one of R15D's units and end in a conditional
 * jump to any block; without fuel it halts.
 */
export function randomProgram(r: Random): number[] {
  const blocks = Array.from({ length: 1 + r.below(8) }, () => {
    const body = [0x41, 0xff, 0xcf, 0x0f, 0x84, 0, 0, 0, 0]; // dec r15d; jz end
    for (let n = r.below(10); n > 0; n--) body.push(...r.pick(makers)(r));
    return [...body, 0x0f, 0x80 + r.below(16), 0, 0, 0, 0];
  });
  const starts: number[] = [];
  let length = 0;
  for (const block of blocks) {
    starts.push(length);
    length += block.length;
  }
  // Behind the last block it starts again.
  const end = length + 5;
  const code = [...blocks.flat(), 0xe9, ...dword(-length - 5), 0xf4];
  const link = (at: number, to: number) => code.splice(at, 4, ...dword(to - at - 4));
  blocks.forEach((block, i) => {
    link(starts[i] + 5, end);
    link(starts[i] + block.length - 4, r.pick(starts));
  });
  return code;
}

/** Puts a program, its data and its registers into the guest, which is about to run it then. */
export function startRandomProgram(guest: SmallGuest, r: Random): void {
  guest.write(programStart, randomProgram(r));
  guest.write(
    dataStart,
    Array.from({ length: dataSize }, () => r.below(256)),
  );
  guest.cpu.bytes.fill(0, state.xmm[0].offset, state.xmm[0].offset + 512);
  const registers = Object.fromEntries(state.gpr.map((f) => [f.name, r.u32()]));
  guest.setEntry(programStart, { ...registers, rsp: 0xa000, rbp: dataStart, r15: 200 + r.below(500) });
}

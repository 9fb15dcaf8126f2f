/** What memory operands hold before the instruction runs. */
import { type Draft, isIndirectBranch, putBytes, someSelector, someTarget } from './draft.ts';
import type { Random } from './random.ts';
import { someKind } from './random-state.ts';
import { at } from './record.ts';
import { elements } from './values.ts';

/** Puts an interesting value at `address`, as far as it lies in data pages. */
export function putValue(draft: Draft, address: number, size: number): void {
  const { r, parsed, state } = draft;
  const bytes = memoryValue(draft, size);
  const length = bytes.length;
  // Compare-and-exchange meets its operand half of the time.
  if (/^CMPXCHG/.test(parsed.row.mnemonic) && r.chance(50)) {
    const half = /8B|16B/.test(parsed.row.mnemonic) ? length / 2 : length;
    for (let i = 0; i < half; i++) bytes[i] = state.getUint8(at.gpr + i);
    for (let i = half; i < length; i++) bytes[i] = state.getUint8(at.gpr + 16 + i - half);
  }
  putBytes(draft, address, bytes);
}

function memoryValue(draft: Draft, size: number): Uint8Array {
  const { r, parsed, taste } = draft;
  const { mnemonic } = parsed.row;
  if (/^(FXRSTOR|XRSTOR|FXSAVE|XSAVE)/.test(mnemonic)) return savedState(r, mnemonic.startsWith('X'));
  if (/^FRSTOR|^FLDENV/.test(mnemonic)) return environment(r);
  if (isIndirectBranch(parsed) && r.chance(80)) return number(someTarget(draft), size);
  if (/^L[DEFGS]S$/.test(mnemonic) && !size) return far(draft);
  if (mnemonic === 'MOV' && parsed.operands[0].type === 'S') return number(BigInt(someSelector(r)), 2);
  if (mnemonic === 'FBLD' && r.chance(80)) return decimal(r);
  if (/LDMXCSR/.test(mnemonic) && r.chance(85)) return Uint8Array.from([r.u32(), r.u32(), 0, 0]);
  if (mnemonic === 'FLDCW' && r.chance(85))
    return Uint8Array.from([0x7f & ~(r.chance(30) ? r.below(64) : 0), r.u32() & 0x1f]);
  return elements(r, size === 10 ? 'extended' : parsed.row.unit ? someKind(r, taste) : 'qwords', Math.max(size, 1));
}

function number(value: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

function far({ r, instruction }: Draft): Uint8Array {
  const bytes = r.bytes(10);
  bytes.set(number(BigInt(someSelector(r)), 2), instruction?.variant.osize);
  return bytes;
}

/** An FXSAVE image, mostly legal; with the XSAVE header and the upper YMM halves behind it. */
function savedState(r: Random, extended: boolean): Uint8Array {
  const bytes = extended && r.chance(50) ? r.bytes(832) : elements(r, 'extended', 832);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint16(0, r.u32() & 0x1f7f, true);
  view.setUint32(24, r.u32() & (r.chance(95) ? 0xffff : 0x1ffff), true);
  view.setUint32(28, 0xffff, true);
  bytes.fill(0, 512, 576);
  view.setUint8(512, r.below(8));
  if (r.chance(5)) view.setUint8(513 + r.below(63), 1);
  return bytes;
}

function environment(r: Random): Uint8Array {
  const bytes = elements(r, 'extended', 112);
  for (let i = 0; i < 28; i += 2) {
    bytes[i] = r.u32();
    bytes[i + 1] = r.u32();
  }
  bytes[0] |= 0x40;
  if (r.chance(70)) bytes[0] = 0x7f;
  return bytes;
}

function decimal(r: Random): Uint8Array {
  const bytes = new Uint8Array(10);
  const digits = r.below(10);
  for (let i = 0; i < digits; i++) bytes[i] = r.below(10) | (r.below(10) << 4);
  bytes[9] = r.pick([0, 0x80]);
  return bytes;
}

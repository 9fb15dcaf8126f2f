/**
 * A guest that knows when its memory is not what it wrote: pass after pass it adds one to the words of 4 MiB, having
 * looked that each is what the pass before left, and prints the letters a to p in turn, one a pass; X when a word is
 * wrong.
 */
import assert from 'node:assert/strict';
import { bzImage } from '../../hw/testing/kernels.ts';

const CODE = Uint8Array.of(
  ...[0xbb, 0x01, 0x00, 0x00, 0x00], // mov ebx, 1
  ...[0xbf, 0x00, 0x00, 0x40, 0x00], // pass: mov edi, 400000h
  ...[0x8b, 0x07], // word: mov eax, [rdi]
  ...[0x8d, 0x4b, 0xff], // lea ecx, [rbx - 1]
  ...[0x39, 0xc8], // cmp eax, ecx
  ...[0x75, 0x1f], // jne wrong
  ...[0x89, 0x1f], // mov [rdi], ebx
  ...[0x83, 0xc7, 0x40], // add edi, 64
  ...[0x81, 0xff, 0x00, 0x00, 0x80, 0x00], // cmp edi, 800000h
  ...[0x72, 0xea], // jb word
  ...[0x88, 0xd8, 0x24, 0x0f, 0x04, 0x61], // mov al, bl; and al, 15; add al, 'a'
  ...[0x66, 0xba, 0xf8, 0x03, 0xee], // mov dx, 3f8h; out dx, al
  ...[0xff, 0xc3], // inc ebx
  ...[0xeb, 0xd6], // jmp pass
  ...[0xb0, 0x58, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf7], // wrong: mov al, 'X'; mov dx, 3f8h; out dx, al; jmp wrong
);

export const MEMORY_CHECKER = bzImage(CODE);

/** Fails unless the letters follow each other from the first on: no pass was lost, none was done twice. */
export function assertUnbroken(letters: string): void {
  const first = letters.charCodeAt(0) - 97;
  for (let i = 0; i < letters.length; i++) {
    const expected = String.fromCharCode(97 + ((first + i) & 15));
    if (letters[i] !== expected)
      assert.fail(
        `letter ${i} of ${letters.length} is ${letters[i]}, not ${expected}: ${letters.slice(Math.max(0, i - 20), i + 20)}`,
      );
  }
}

# The A20 gate, through port 92: closed, bit 20 of every physical address is 0.
.include "runtime.inc"

.text
main:
  mov dword ptr [0x7000], 0x11111111
  mov dword ptr [0x407000], 0x44444444
  mov dword ptr [0x507000], 0x55555555
  in al, 0x92
  and eax, 2
  HEX eax
  NEW_LINE
  # With the gate closed this code is out of reach, and so are the stack and all tables.
  mov ebp, esp
  mov esp, 0x6000
  jmp low
back:
  mov esp, ebp
  SAY "closed: "
  HEX ebx
  HEX ecx
  HEX edx
  HEX esi
  NEW_LINE
  SAY "open again: "
  HEX [0x7004]
  HEX [0x407000]
  HEX [0x507000]
  in al, 0x92
  and eax, 2
  HEX eax
  NEW_LINE
  ret

.section .low, "ax"
low:
  in al, 0x92
  and al, 0xFC
  out 0x92, al
  mov ebx, [0x107000]
  mov ecx, [0x407000]
  mov edx, [0x507000]
  mov dword ptr [0x107004], 0x66666666
  in al, 0x92
  and eax, 2
  mov esi, eax
  or al, 2
  out 0x92, al
  jmp back

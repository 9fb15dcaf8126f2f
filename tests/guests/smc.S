# Self-modifying code: the next instruction, earlier code, code in other pages
# and behind other linear addresses, code written by strings and by the stack.
.include "runtime.inc"

.set P, 1
.set W, 2
.set PS, 0x80
.set ALIAS, 0x40000000

.text
main:
  SAY "next instruction: "
  xor eax, eax
  mov byte ptr [1f + 1], 0x42
1: mov al, 0x11
  HEX eax
  mov byte ptr [2f], 0x90       # inc edx becomes nop
  xor edx, edx
2: inc edx
  HEX edx
  NEW_LINE

  SAY "loop that changes itself: "
  mov ecx, 5
  xor eax, eax
1: add eax, 1
  inc byte ptr [1b + 2]
  loop 1b
  HEX eax
  NEW_LINE

  SAY "code called again after a change: "
  mov edi, offset buffer
  mov dword ptr [edi], 0xC301B0        # mov al, 1; ret
  xor eax, eax
  call edi
  HEX eax
  mov byte ptr [edi + 1], 2
  call edi
  HEX eax
  mov ecx, 1000
2: mov [edi + 1], cl
  call edi
  cmp al, cl
  jne 3f
  loop 2b
  SAY "same"
3: HEX ecx
  NEW_LINE

  SAY "code that changes its caller: "
  mov edi, offset buffer
  mov dword ptr [edi], offset 0        # placed below
  mov byte ptr [edi], 0xC6             # mov byte ptr [1f + 1], 0x77; ret
  mov byte ptr [edi + 1], 0x05
  mov dword ptr [edi + 2], offset 1f + 1
  mov byte ptr [edi + 6], 0x77
  mov byte ptr [edi + 7], 0xC3
  xor eax, eax
  call edi
1: mov al, 0x11
  HEX eax
  NEW_LINE

  SAY "instruction over a page border: "
  mov edi, offset pages + 4094
  mov byte ptr [edi], 0xB8             # mov eax, 0x44332211; ret
  mov dword ptr [edi + 1], 0x44332211
  mov byte ptr [edi + 5], 0xC3
  call edi
  HEX eax
  mov byte ptr [edi + 4], 0x55
  call edi
  HEX eax
  mov byte ptr [edi + 1], 0x66
  call edi
  HEX eax
  mov word ptr [edi + 1], 0x7788
  call edi
  HEX eax
  NEW_LINE

  SAY "code written by rep stosb and rep movsb: "
  mov edi, offset buffer
  mov ecx, 64
  mov al, 0x40                         # inc eax
  rep stosb
  mov byte ptr [edi], 0xC3
  xor eax, eax
  mov ebx, offset buffer
  call ebx
  HEX eax
  mov esi, offset buffer
  mov edi, offset pages + 4000
  mov ecx, 65
  rep movsb
  mov ebx, offset pages + 4000
  call ebx
  HEX eax
  mov edi, offset buffer
  mov ecx, 32
  mov al, 0x48                         # dec eax
  rep stosb
  mov ebx, offset buffer
  call ebx
  HEX eax
  NEW_LINE

  SAY "rep movsb over the running code: "
  mov esi, offset template
  mov edi, offset 1f
  mov ecx, offset template_end - template
  xor eax, eax
  rep movsb
1: .fill 8, 1, 0x40
  HEX eax
  NEW_LINE

  SAY "code pushed on the stack: "
  push 0xC3C3C3C3
  push 0x40404040
  xor eax, eax
  call esp
  pop edx
  HEX eax
  pop edx
  NEW_LINE

  SAY "locked and wide writes to code: "
  mov edi, offset buffer
  mov dword ptr [edi], 0xC301B0
  call edi
  mov eax, 0xC301B0
  mov ecx, 0xC309B0
  lock cmpxchg [edi], ecx
  xor eax, eax
  call edi
  HEX eax
  mov eax, 0x0AB0
  xchg [edi], ax
  xor eax, eax
  call edi
  HEX eax
  fninit
  mov dword ptr [scratch], 0xC30BB0
  fild qword ptr [scratch]
  fistp qword ptr [edi]
  xor eax, eax
  call edi
  HEX eax
  mov eax, cr4
  or eax, 0x200
  mov cr4, eax
  mov dword ptr [scratch], 0xC30CB0
  movups xmm0, [scratch]
  movups [edi], xmm0
  xor eax, eax
  call edi
  HEX eax
  NEW_LINE

  # Paging: the same page at two linear addresses, and a page that is exchanged.
  mov ecx, 0
1: mov eax, ecx
  shl eax, 22
  or eax, P + W + PS
  mov [directory + ecx * 4], eax
  inc ecx
  cmp ecx, 16
  jb 1b
  mov eax, offset table + P + W
  mov [directory + (ALIAS >> 22) * 4], eax
  mov eax, offset pages + P + W
  mov [table], eax
  mov eax, cr4
  or eax, 0x10
  mov cr4, eax
  mov eax, offset directory
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  SAY "alias: "
  mov dword ptr [pages], 0xC301B0
  mov ebx, ALIAS
  xor eax, eax
  call ebx
  HEX eax
  mov byte ptr [pages + 1], 0x21
  call ebx
  HEX eax
  mov byte ptr [ALIAS + 1], 0x22
  mov edi, offset pages
  call edi
  HEX eax
  call ebx
  HEX eax
  NEW_LINE
  SAY "exchanged page: "
  mov dword ptr [pages + 4096], 0xC333B0
  mov eax, offset pages + 4096 + P + W
  mov [table], eax
  invlpg [ALIAS]
  xor eax, eax
  call ebx
  HEX eax
  mov eax, offset pages + P + W
  mov [table], eax
  invlpg [ALIAS]
  xor eax, eax
  call ebx
  HEX eax
  mov byte ptr [pages + 4097], 0x34
  mov eax, offset pages + 4096 + P + W
  mov [table], eax
  mov eax, cr3
  mov cr3, eax
  xor eax, eax
  call ebx
  HEX eax
  NEW_LINE
  SAY "same bytes in 16-bit code: "
  mov dword ptr [0x7000], 0x0001B866   # 32 bits: mov ax, 1; 16 bits: mov eax, 0x...0001
  mov dword ptr [0x7004], 0xCB660000   # 16 bits: retf with a 32-bit operand
  mov eax, -1
  call CODE16:0x7000
  HEX eax
  mov byte ptr [0x7002], 2
  mov eax, -1
  call CODE16:0x7000
  HEX eax
  NEW_LINE
  mov eax, cr0
  and eax, 0x7FFFFFFF
  mov cr0, eax
  ret

template:
  .fill 4, 1, 0x40
  .fill 4, 1, 0x90
template_end:

.bss
scratch: .skip 16
buffer: .skip 128
.align 4096
pages: .skip 8192
directory: .skip 4096
table: .skip 4096

# Real mode: the way there and back, interrupts and exceptions through the
# vector table, 16-bit addressing, far transfers, big real mode, the stack's wrap.
.include "runtime.inc"

.set BASE, 0x800           # segment of section .low
.set STACK, 0x9000         # segment of the stack

.text
main:
  jmp CODE16:to_real
from_real:
  mov eax, KDATA
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov esp, [saved_esp]
  xor eax, eax
  mov fs, eax
  mov gs, eax
  lidt [idt_pointer]
  SAY "back in protected mode\n"
  ret

.section .low, "ax"
.code16
# Prints the text behind the call; all registers and flags are kept.
.macro SAY16 text
  call say16
  .asciz "\text"
.endm
.macro HEX16 value
  push \value
  call hex16
.endm
.macro LINE
  SAY16 "\n"
.endm
.macro PUSHD value
  .byte 0x66, 0x68
  .long \value
.endm
# An exception goes on at the label, with the vector and the IP of its frame printed.
.macro CATCH text, resume
  SAY16 "\text: "
  mov word ptr cs:[resume16 - 0x8000], offset \resume - 0x8000
  mov word ptr cs:[resume16_sp - 0x8000], sp
.endm

to_real:
  mov [saved_esp], esp
  mov ax, DATA16
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov fs, ax
  lidt [ivt_pointer]
  mov eax, cr0
  and al, 0xFE
  mov cr0, eax
  .byte 0xEA
  .word 1f - 0x8000, BASE
1: mov ax, cs
  mov ds, ax
  mov ax, STACK
  mov ss, ax
  mov esp, 0xF000
  mov ax, 0x7000
  mov es, ax
  call build_vectors
  call registers
  call interrupts
  call exceptions
  call addressing
  call transfers
  call stack_tests
  call strings
  call big_real
  cli
  lgdt ds:[gdt_pointer16 - 0x8000]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  .byte 0x66
  .byte 0xEA
  .long from_real
  .word KCODE

# Vectors 0 to 31: three bytes of code each that push the number.
build_vectors:
  push es
  xor ax, ax
  mov es, ax
  mov di, ax
  mov cx, 32
  mov ax, offset vectors - 0x8000
1: stosw
  mov es:[di], cs
  add di, 2
  add ax, 4
  loop 1b
  mov word ptr es:[0x40 * 4], offset service - 0x8000
  mov es:[0x40 * 4 + 2], cs
  pop es
  ret
vectors:
.set i, 0
.rept 32
  push i
  jmp 1f
  .set i, i + 1
.endr
1: jmp caught

# Stack: vector, ip, cs, flags
caught:
  pop dx
  SAY16 "#"
  call digits2
  pop ax
  SAY16 " at "
  HEX16 ax
  pop ax
  HEX16 ax
  pop ax
  and ax, 0x7700
  SAY16 "flags "
  HEX16 ax
  pushf
  pop ax
  and ax, 0x7700
  HEX16 ax
  mov sp, cs:[resume16_sp - 0x8000]
  push cs
  pop ds
  jmp word ptr cs:[resume16 - 0x8000]

service:
  pushf
  pop ax
  and ax, 0x7700
  HEX16 ax
  mov bp, sp
  mov ax, [bp + 4]
  and ax, 0x7701
  HEX16 ax
  iret

registers:
  SAY16 "real mode: "
  HEX16 cs
  HEX16 ss
  mov eax, cr0
  and ax, 0x1
  HEX16 ax
  smsw ax
  and ax, 0xF
  HEX16 ax
  pushfd
  pop eax
  and eax, 0x37700
  HEX16 ax
  LINE
  ret

interrupts:
  SAY16 "int: "
  stc
  sti
  int 0x40
  cli
  LINE
  SAY16 "popf: "
  push 0x7EFF
  popf
  pushf
  pop ax
  HEX16 ax
  push 0xFFFF8000
  popf
  pushf
  pop ax
  HEX16 ax
  LINE
  CATCH "single step", 1f
  pushf
  pop ax
  or ah, 1
  push ax
  popf
  nop
  nop
1: LINE
  ret

exceptions:
  CATCH "divide by zero", 1f
  xor cl, cl
  div cl
1: LINE
  CATCH "divide overflow", 1f
  mov ax, 0x8000
  mov dx, 0xFFFF
  mov bx, -1
  idiv bx
1: LINE
  CATCH "int3", 1f
  int3
1: LINE
  CATCH "int 3", 1f
  .byte 0xCD, 3
1: LINE
  CATCH "into", 1f
  mov al, 0x80
  dec al
  into
1: LINE
  CATCH "bound", 1f
  mov bx, 10
  bound bx, ds:[bounds - 0x8000]
1: LINE
  CATCH "bound within", 1f
  mov bx, -5
  bound bx, ds:[bounds - 0x8000]
1: LINE
  CATCH "ud2", 1f
  ud2
1: LINE
  CATCH "lock of a register", 1f
  .byte 0xF0, 0x01, 0xC0
1: LINE
  CATCH "arpl", 1f
  .byte 0x63, 0xC0
1: LINE
  CATCH "lldt", 1f
  lldt ax
1: LINE
  CATCH "verr", 1f
  verr ax
1: LINE
  CATCH "aam 0", 1f
  .byte 0xD4, 0
1: LINE
  CATCH "device not available", 1f
  mov eax, cr0
  or al, 8
  mov cr0, eax
  fld1
1: clts
  LINE
  CATCH "~ word at the limit", 1f
  mov ax, ds:[0xFFFF]
1: LINE
  CATCH "~ stack word at the limit", 1f
  mov bp, 0xFFFF
  mov ax, [bp]
1: LINE
  ret

addressing:
  SAY16 "wrap of offsets: "
  mov bx, 0xFFF0
  mov si, 0x0020
  mov byte ptr es:[0x15], 0x5A
  mov al, es:[bx + si + 5]
  mov ah, 0
  HEX16 ax
  lea ax, [bx + si + 0x7FFF]
  HEX16 ax
  mov ebx, 0x12340000
  lea eax, [ebx + esi * 4]
  shr eax, 16
  HEX16 ax
  LINE
  SAY16 "segment of bp: "
  mov bp, 0x100
  mov word ptr ss:[0x100], 0x1122
  mov word ptr ds:[cell16 - 0x8000], 0x3344
  mov ax, [bp]
  HEX16 ax
  mov bx, offset cell16 - 0x8000
  mov ax, [bx]
  HEX16 ax
  mov ax, cs:[bx]
  HEX16 ax
  LINE
  SAY16 "above 1 MiB: "
  mov ax, 0xFFFF
  mov fs, ax
  mov word ptr fs:[0x20], 0xBEEF
  mov ax, fs:[0x20]
  HEX16 ax
  LINE
  ret

transfers:
  SAY16 "far call: "
  mov bp, sp
  .byte 0x9A
  .word far_callee - 0x8000 + 16, BASE - 1
  sub bp, sp
  HEX16 bp
  call dword ptr ds:[far_target - 0x8000]
  LINE
  SAY16 "far jump with 32-bit offset: "
  .byte 0x66, 0xEA
  .long 1f - 0x8000 + 32
  .word BASE - 2
1: HEX16 cs
  .byte 0xEA
  .word 2f - 0x8000, BASE
2: HEX16 cs
  LINE
  SAY16 "retf n, ret n: "
  mov bp, sp
  push 1
  push 2
  push cs
  push offset 1f - 0x8000
  retf 4
1: sub bp, sp
  HEX16 bp
  mov bp, sp
  push 7
  push offset 2f - 0x8000
  ret 2
2: sub bp, sp
  HEX16 bp
  LINE
  SAY16 "iret, 32 bits: "
  mov bp, sp
  PUSHD 0x38D7
  PUSHD BASE
  PUSHD 1f-0x8000
  .byte 0x66
  iret
1: pushf
  pop ax
  cld
  HEX16 ax
  sub bp, sp
  HEX16 bp
  LINE
  SAY16 "jump tables and loops: "
  mov bx, offset table16 - 0x8000
  mov cx, 3
  xor ax, ax
1: add ax, cx
  loop 1b
  HEX16 ax
  jmp word ptr [bx]
3: SAY16 "jumped "
  mov ecx, 0x10000
  jcxz 4f
  SAY16 "wrong "
4: jecxz 5f
  SAY16 "ecx "
5: LINE
  ret

far_callee:
  HEX16 cs
  mov bp, sp
  mov ax, [bp + 2]
  HEX16 ax
  retf

stack_tests:
  SAY16 "enter and leave: "
  mov bp, 0x1234
  mov dx, sp
  enter 6, 2
  mov ax, bp
  sub ax, sp
  HEX16 ax
  mov ax, [bp]
  HEX16 ax
  leave
  HEX16 bp
  sub dx, sp
  HEX16 dx
  LINE
  SAY16 "pusha: "
  mov ax, 0xAAAA
  mov cx, 0xCCCC
  mov dx, 0xDDDD
  mov bx, 0xBBBB
  mov bp, 0x5555
  mov si, 0x6666
  mov di, 0x7777
  mov es:[0], sp
  pusha
  mov bp, sp
  mov ax, [bp]
  HEX16 ax
  mov ax, [bp + 6]
  sub ax, es:[0]
  HEX16 ax
  mov ax, [bp + 14]
  HEX16 ax
  popa
  HEX16 di
  HEX16 ax
  LINE
  SAY16 "push sp, pop sp: "
  mov bp, sp
  push sp
  pop ax
  sub ax, bp
  HEX16 ax
  mov es:[0], sp
  push sp
  pop sp
  mov ax, sp
  sub ax, es:[0]
  HEX16 ax
  LINE
  SAY16 "wrap of sp: "
  mov es:[0], sp
  mov esp, 0x12340002
  push 0x1111
  push 0x2222
  mov eax, esp
  pop bx
  pop cx
  mov sp, es:[0]
  movzx esp, sp
  HEX16 ax
  shr eax, 16
  HEX16 ax
  HEX16 bx
  HEX16 cx
  LINE
  ret

strings:
  SAY16 "movsb backwards over the wrap: "
  mov byte ptr es:[0xFFFF], 1
  mov byte ptr es:[0], 2
  mov byte ptr es:[1], 3
  push ds
  push es
  pop ds
  mov si, 1
  mov di, 0x101
  mov cx, 3
  std
  rep movsb
  cld
  pop ds
  HEX16 si
  HEX16 di
  mov ax, es:[0x100]
  HEX16 ax
  mov al, es:[0xFF]
  mov ah, cl
  HEX16 ax
  LINE
  SAY16 "rep with a 16-bit count: "
  mov ecx, 0x10003
  mov edi, 0x20010
  mov al, 0x77
  rep stosb
  mov eax, ecx
  shr eax, 16
  HEX16 ax
  HEX16 di
  mov ax, es:[0x12]
  HEX16 ax
  LINE
  SAY16 "repe cmpsw, repne scasb: "
  mov si, 0x10
  mov di, 0x11
  mov cx, 5
  push ds
  push es
  pop ds
  repe cmpsb
  pop ds
  HEX16 cx
  mov di, 0
  mov cx, 100
  mov al, 0x77
  repne scasb
  HEX16 di
  HEX16 cx
  LINE
  ret

# Limits loaded in protected mode stay in real mode.
big_real:
  SAY16 "big real mode: "
  lgdt ds:[gdt_pointer16 - 0x8000]
  push es
  mov eax, cr0
  or al, 1
  mov cr0, eax
  mov bx, KDATA
  mov es, bx
  and al, 0xFE
  mov cr0, eax
  mov ebx, 0x200000
  mov dword ptr es:[ebx], 0x600D600D
  mov eax, es:[ebx]
  HEX16 ax
  pop es
  mov byte ptr es:[0x40], 0x99
  mov al, es:[0x40]
  HEX16 ax
  LINE
  ret

say16:
  pushf
  pushad
  mov bp, sp
  mov si, [bp + 34]
1: mov al, cs:[si]
  inc si
  test al, al
  jz 2f
  out 0xE9, al
  jmp 1b
2: mov [bp + 34], si
  popad
  popf
  ret

# Prints the word on the stack and takes it off.
hex16:
  pushf
  pushad
  mov bp, sp
  mov dx, [bp + 36]
  rol dx, 8
  call digits2
  rol dx, 8
  call digits2
  mov al, ' '
  out 0xE9, al
  popad
  popf
  ret 2

# Prints dl.
digits2:
  push dx
  shr dl, 4
  call digit
  pop dx
digit:
  mov al, dl
  and al, 15
  cmp al, 10
  jb 1f
  add al, 7
1: add al, '0'
  out 0xE9, al
  ret

.align 4
ivt_pointer:
  .word 0x3FF
  .long 0
gdt_pointer16:
  .word 0xFF
  .long gdt
far_target:
  .word far_callee - 0x8000, BASE
bounds: .word -5, 9
table16: .word 3b - 0x8000
cell16: .word 0
resume16: .word 0
resume16_sp: .word 0
saved_esp: .long 0

# Virtual-8086 mode: entry and exit, what is refused by IOPL, I/O permission, a V86 task.
.include "runtime.inc"

.set VM, 0x20000
.set IOPL3, 0x3000
.set SEGMENT, 0x800        # of section .low

# Enters V86 code with these flags besides VM.
.macro V86 label, flags
  push 0x3456
  push 0x2345
  push 0x1234
  push 0x5678
  push 0x7000
  push 0xF000
  push VM + 2 + \flags
  push SEGMENT
  push offset \label - 0x8000
  iretd
.endm

.macro TRY_V86 text, label, flags
  TRY "\text", 1f
  V86 \label, \flags
1: NEXT
.endm

.text
main:
  # Port 0xE9 alone is open.
  mov ecx, 0
1: mov byte ptr [tss + 104 + ecx], 0xFF
  inc ecx
  cmp ecx, 33
  jb 1b
  mov byte ptr [tss + 104 + 0xE8 / 8], 0xFD

  TRY_V86 "segments and flags", registers, IOPL3
  TRY_V86 "arithmetic of addresses", addresses, IOPL3
  TRY_V86 "pushf and popf, IOPL 3", flags_allowed, IOPL3
  TRY_V86 "iret within V86, IOPL 3", iret_inside, IOPL3
  TRY_V86 "int 3, IOPL 3", do_int3, IOPL3
  TRY_V86 "int to a closed gate, IOPL 3", do_closed_int, IOPL3
  TRY_V86 "open port", do_open_port, 0
  TRY_V86 "closed port, IOPL 3", do_closed_port, IOPL3
  TRY_V86 "cli", do_cli, 0
  TRY_V86 "sti", do_sti, 0
  TRY_V86 "pushf", do_pushf, 0
  TRY_V86 "popf", do_popf, 0
  TRY_V86 "int n", do_int, 0
  TRY_V86 "int3", do_int3, 0
  TRY_V86 "into", do_into, 0
  TRY_V86 "iret", do_iret, 0
  TRY_V86 "hlt", do_hlt, IOPL3
  TRY_V86 "mov cr0", do_cr0, IOPL3
  TRY_V86 "lgdt", do_lgdt, IOPL3
  TRY_V86 "clts", do_clts, IOPL3
  TRY_V86 "sldt", do_sldt, IOPL3
  TRY_V86 "str", do_str, IOPL3
  TRY_V86 "lar", do_lar, IOPL3
  TRY_V86 "verr", do_verr, IOPL3
  TRY_V86 "arpl", do_arpl, IOPL3
  TRY_V86 "smsw", do_smsw, IOPL3
  TRY_V86 "divide error", do_divide, 0
  TRY_V86 "undefined instruction", do_ud2, 0
  TRY_V86 "bound", do_bound, 0
  TRY_V86 "~ word at the limit", do_limit, IOPL3
  TRY_V86 "~ 32-bit address beyond the limit", do_far_address, IOPL3

  # A task whose flags have VM.
  TRY "V86 task", 1f
  mov ebx, SLOT
  mov eax, offset task
  mov ecx, 103
  mov edx, 0x8900
  call set_descriptor
  mov dword ptr [task + 4], offset task_stack_top
  mov dword ptr [task + 8], KDATA
  mov dword ptr [task + 0x20], offset in_task - 0x8000
  mov dword ptr [task + 0x24], VM + IOPL3 + 2
  mov dword ptr [task + 0x38], 0xF000
  mov dword ptr [task + 0x48], 0x1111
  mov dword ptr [task + 0x4C], SEGMENT
  mov dword ptr [task + 0x50], 0x7000
  mov dword ptr [task + 0x54], 0x2222
  mov dword ptr [task + 0x58], 0x3333
  mov dword ptr [task + 0x5C], 0x4444
  mov dword ptr [task + 0x64], 0x680000
  jmp SLOT:0
1: NEXT
  ret

.section .low, "ax"
.code16
.macro SHOW value
  mov eax, \value
  int 0x41
.endm
.macro DONE
  int 0x40
.endm

registers:
  SHOW es
  SHOW ds
  SHOW fs
  SHOW gs
  SHOW ss
  SHOW cs
  SHOW esp
  DONE
addresses:
  mov word ptr cs:[cell - 0x8000], 0x1234
  mov ax, SEGMENT - 1
  mov ds, ax
  movzx eax, word ptr ds:[cell - 0x8000 + 16]
  int 0x41
  mov ax, 0xFFFF
  mov ds, ax
  mov ebx, 0xFFFF0010
  xor eax, eax
  mov al, ds:[bx]
  cmp al, al
  DONE
flags_allowed:
  pushfd
  pop eax
  and eax, 0x37700
  int 0x41
  push 0x7ED7 - 0x100
  popf
  pushf
  pop ax
  and eax, 0xFFFF
  int 0x41
  DONE
iret_inside:
  push 0x3002
  push 0x801
  push offset 1f - 0x8010
  iret
1: SHOW cs
  DONE
do_int3: int3
do_closed_int: int 0x20
do_open_port:
  mov al, '!'
  out 0xE9, al
  hlt
do_closed_port: in al, 0x71
do_cli: cli
do_sti: sti
  hlt
do_pushf: pushf
do_popf: popf
do_int: int 0x41
do_into:
  mov al, 0x7F
  inc al
  into
do_iret: iret
do_hlt: hlt
do_cr0: mov eax, cr0
do_lgdt: lgdt ds:[0]
do_clts: clts
do_sldt: sldt ax
do_str: str ax
do_lar: lar ax, bx
do_verr: verr ax
do_arpl: .byte 0x63, 0xC0
do_smsw:
  xor eax, eax
  smsw ax
  and eax, 1
  int 0x41
  DONE
do_divide:
  xor bl, bl
  div bl
do_ud2: ud2
do_bound:
  mov ax, 5
  bound ax, cs:[bounds16 - 0x8000]
  hlt
do_limit: mov ax, ds:[0xFFFF]
  hlt
do_far_address:
  mov ebx, 0x10000
  mov al, [ebx]
  hlt
in_task:
  SHOW ds
  SHOW es
  SHOW gs
  ud2
.align 4
cell: .long 0
bounds16: .word 6, 9

.bss
.align 16
task: .skip 104
  .skip 1024
task_stack_top:

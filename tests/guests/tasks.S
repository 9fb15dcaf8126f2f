# Hardware task switches: by far jump, far call and IRET, through task gates, on
# an exception; 32- and 16-bit TSSs; what is saved, loaded, and marked busy.
.include "runtime.inc"

.set NEW32, SLOT           # 58: available 32-bit TSS
.set NEW16, SLOT + 8       # 60: available 16-bit TSS
.set GATE, SLOT + 16       # 68: task gate to NEW32
.set ABSENT, SLOT + 24     # 70: TSS that is not present
.set TOO_SHORT, SLOT + 32      # 78: TSS that is too short

.macro DESCRIPTOR selector, base, limit, bits
  mov ebx, \selector
  mov eax, \base
  mov ecx, \limit
  mov edx, \bits
  call set_descriptor
.endm

# A fresh 32-bit TSS that starts at a label.
.macro TASK32 start
  mov dword ptr [new32 + 0x20], offset \start
  call fill32
.endm

.text
main:
  TRY "jump to a TSS", 1f
  TASK32 task_jumped
  jmp NEW32:0
back_from_jump:
  call show_state
1: NEXT
  TRY "call a TSS and return", 1f
  TASK32 task_called
  mov ebx, 0x0B0B0B0B
  mov esi, 0x05050505
  stc
  call NEW32:0
  HEX ebx
  HEX esi
  setc al
  movzx eax, al
  HEX eax
  call show_state
1: NEXT
  TRY "the old task's image", 1f
  HEX [tss + 0x34]
  HEX [tss + 0x40]
  HEX [tss + 0x4C]
  HEX [tss + 0x48]
  HEX [tss + 0x60]
  HEX [tss + 0x1C]
1: NEXT
  TRY "TS is set by a switch", 1f
  mov eax, cr0
  and eax, 8
  HEX eax
  clts
1: NEXT
  TRY "call a task gate", 1f
  mov dword ptr [gdt + GATE], NEW32 << 16
  mov dword ptr [gdt + GATE + 4], 0x8500
  TASK32 task_called
  call GATE:0
  call show_state
1: NEXT
  TRY "interrupt through a task gate", 1f
  mov dword ptr [idt + 0x50 * 8], NEW32 << 16
  mov dword ptr [idt + 0x50 * 8 + 4], 0x8500
  TASK32 task_called
  int 0x50
  call show_state
1: NEXT
  TRY "exception with an error code through a task gate", 1f
  mov eax, [idt + 13 * 8]
  mov ebx, [idt + 13 * 8 + 4]
  mov [saved_gate], eax
  mov [saved_gate + 4], ebx
  mov dword ptr [idt + 13 * 8], NEW32 << 16
  mov dword ptr [idt + 13 * 8 + 4], 0x8500
  TASK32 task_protection
  mov eax, 0xFFF8
  mov ds, ax
after_protection:
  mov eax, [saved_gate]
  mov ebx, [saved_gate + 4]
  mov [idt + 13 * 8], eax
  mov [idt + 13 * 8 + 4], ebx
  call show_state
1: NEXT
  TRY "16-bit TSS", 1f
  call fill16
  mov ebx, 0x12345678
  call NEW16:0
  HEX ebx
  call show_state
1: NEXT
  TRY "jump to a busy TSS", 1f
  jmp TSS:0
1: NEXT
  TRY "jump to an absent TSS", 1f
  DESCRIPTOR ABSENT, (offset new32), 103, 0x0900
  jmp ABSENT:0
1: NEXT
  TRY "jump to a short TSS", 1f
  DESCRIPTOR TOO_SHORT, (offset new32), 102, 0x8900
  jmp TOO_SHORT:0
1: NEXT
  TRY "iret with NT to a TSS that is not busy", 1f
  TASK32 task_called
  mov word ptr [tss], NEW32
  pushfd
  or dword ptr [esp], 0x4000
  popfd
  iretd
1: NEXT
  push 2
  popfd
  ret

# Prints TR, NT, the busy bits, the back link of the new TSS.
show_state:
  SAY "| "
  str eax
  HEX eax
  pushfd
  pop eax
  and eax, 0x4000
  HEX eax
  mov eax, [gdt + TSS + 4]
  and eax, 0xFF00
  HEX eax
  mov eax, [gdt + NEW32 + 4]
  and eax, 0xFF00
  HEX eax
  movzx eax, word ptr [new32]
  HEX eax
  ret

fill32:
  DESCRIPTOR NEW32, (offset new32), 103, 0x8900
  mov dword ptr [new32], 0
  mov eax, cr3
  mov [new32 + 0x1C], eax
  mov dword ptr [new32 + 0x24], 2
  mov dword ptr [new32 + 0x28], 0xA0A0A0A0
  mov dword ptr [new32 + 0x2C], 0xC0C0C0C0
  mov dword ptr [new32 + 0x30], 0xD0D0D0D0
  mov dword ptr [new32 + 0x34], 0xB0B0B0B0
  mov dword ptr [new32 + 0x38], offset task_stack_top
  mov dword ptr [new32 + 0x3C], 0xEBEBEBEB
  mov dword ptr [new32 + 0x40], 0x51515151
  mov dword ptr [new32 + 0x44], 0xD1D1D1D1
  mov dword ptr [new32 + 0x48], KDATA
  mov dword ptr [new32 + 0x4C], KCODE
  mov dword ptr [new32 + 0x50], KDATA
  mov dword ptr [new32 + 0x54], KDATA
  mov dword ptr [new32 + 0x58], 0
  mov dword ptr [new32 + 0x5C], KDATA
  mov dword ptr [new32 + 0x60], 0
  mov dword ptr [new32 + 0x64], 0x680000
  ret

show_task:
  HEX eax
  HEX ecx
  HEX ebx
  HEX ebp
  HEX edi
  mov eax, gs
  HEX eax
  call show_state
  ret

task_jumped:
  call show_task
  jmp TSS:0

task_called:
  call show_task
  iretd
  # A second call goes on here.
  SAY "again "
  iretd

# The error code is on the new task's stack.
task_protection:
  pop eax
  HEX eax
  mov dword ptr [tss + 0x20], offset after_protection
  iretd

# 16-bit code that returns at once.
fill16:
  mov dword ptr [0x9000], 0x90CF9090   # nop nop iret
  DESCRIPTOR NEW16, (offset new16), 43, 0x8100
  mov word ptr [new16], 0
  mov word ptr [new16 + 0x0E], 0x9000
  mov word ptr [new16 + 0x10], 2
  mov word ptr [new16 + 0x1A], 0x8F00
  mov word ptr [new16 + 0x22], DATA16
  mov word ptr [new16 + 0x24], CODE16
  mov word ptr [new16 + 0x26], DATA16
  mov word ptr [new16 + 0x28], DATA16
  mov word ptr [new16 + 0x2A], 0
  ret

.bss
.align 16
new32: .skip 104
new16: .skip 48
saved_gate: .skip 8
  .skip 1024
task_stack_top:

# Debugging: single step over all kinds of instructions, breakpoints of code and
# data, DR6 and DR7, ICEBP, breakpoints and TF over calls into ring 0.
.include "runtime.inc"

.text
main:
  # #DB gets a handler of its own, which notes where it came from and what DR6 says, and goes on.
  mov eax, offset on_debug
  mov [idt + 8], ax
  shr eax, 16
  mov [idt + 14], ax
  call steps
  call breakpoints
  call watchpoints
  call others
  ret

# Notes EIP relative to `base` and DR6; turns TF off when `count` has run out.
on_debug:
  push eax
  push edx
  mov eax, [esp + 8]
  sub eax, [base]
  HEX eax
  mov eax, dr6
  and eax, 0xE00F
  HEX eax
  mov eax, 0xFFFF0FF0
  mov dr6, eax
  dec dword ptr [count]
  jnz 1f
  and dword ptr [esp + 16], ~0x100
  xor eax, eax
  mov dr7, eax
1: or dword ptr [esp + 16], 0x10000     # RF: an instruction breakpoint is passed
  pop edx
  pop eax
  iretd

# Runs with TF from here, for so many traps.
.macro STEP text, traps
  SAY "\text: "
  mov dword ptr [count], \traps
  call set_base
  pushfd
  or dword ptr [esp], 0x100
  popfd
.endm
# EIP is shown relative to the instruction behind the call.
set_base:
  mov eax, [esp]
  mov [base], eax
  ret
.macro STEPPED
  pushfd
  and dword ptr [esp], ~0x100
  popfd
  NEW_LINE
.endm

steps:
  STEP "nop", 3
  nop
  nop
  nop
  nop
  STEPPED
  STEP "jumps", 5
  jmp 1f
  nop
1: stc
  jc 2f
  nop
2: jnc 3f
3: nop
  STEPPED
  STEP "call and ret", 4
  call nothing
  nop
  nop
  STEPPED
  mov esi, offset source
  mov edi, offset target
  mov ecx, 3
  STEP "rep movsb", 5
  rep movsb
  nop
  nop
  STEPPED
  HEX ecx
  NEW_LINE
  STEP "loop", 5
  mov ecx, 2
4: loop 4b
  nop
  nop
  STEPPED
  STEP "mov ss", 3
  mov eax, KDATA
  mov ss, ax
  nop
  nop
  nop
  STEPPED
  STEP "pop ss", 3
  push KDATA
  pop ss
  nop
  nop
  STEPPED
  STEP "popf that clears TF", 9
  push 2
  popfd
  nop
  nop
  STEPPED
  STEP "pushf shows TF", 3
  pushfd
  pop eax
  nop
  STEPPED
  and eax, 0x100
  HEX eax
  NEW_LINE
  STEP "software interrupt", 4
  int 0x41
  nop
  nop
  STEPPED
  STEP "iret", 4
  pushfd
  push cs
  push offset 5f
  iretd
  nop
5: nop
  nop
  STEPPED
  STEP "string without rep", 4
  mov edi, offset target
  stosb
  cld
  nop
  STEPPED
  mov dword ptr [count], 9
  TRY "fault under TF", 6f
  call set_base
  pushfd
  or dword ptr [esp], 0x100
  popfd
  ud2
6: NEXT
  ret

nothing: ret

# DR0 at an address, DR7 as given.
.macro BREAK text, address, control, traps
  SAY "\text: "
  mov dword ptr [count], \traps
  mov eax, \address
  mov dr0, eax
  mov eax, \control
  mov dr7, eax
  call set_base
.endm
.macro BROKEN
  xor eax, eax
  mov dr7, eax
  NEW_LINE
.endm

breakpoints:
  BREAK "code", (offset 1f), 1, 2
  nop
1: nop
  nop
  BROKEN
  BREAK "code, global", (offset 1f), 2, 2
  nop
1: nop
  nop
  BROKEN
  mov ecx, 3
  BREAK "code in a loop", (offset 1f), 1, 9
1: loop 1b
  BROKEN
  BREAK "disabled", (offset 1f), 0x700, 2
1: nop
  BROKEN
  BREAK "on a branch target", (offset 1f), 1, 2
  jmp 1f
  nop
1: nop
  BROKEN
  mov eax, offset 2f
  mov dr3, eax
  BREAK "two of them", (offset 1f), 0x41, 3
  nop
1: nop
2: nop
  nop
  BROKEN
  ret

watchpoints:
  # Type (1 write, 3 read or write) at bit 16, length (0 1, 1 2, 3 4 bytes) at bit 18.
  BREAK "write of a dword", (offset watched), 0xD0001, 9
  mov eax, [watched]
  mov dword ptr [watched], 1
  nop
  mov byte ptr [watched + 3], 1
  mov byte ptr [watched + 4], 1
  mov byte ptr [watched - 1], 1
  mov word ptr [watched - 1], 1
  inc dword ptr [watched - 3]
  nop
  BROKEN
  BREAK "read or write of a byte", (offset watched + 1), 0x30001, 9
  mov eax, [watched]
  mov ax, [watched + 2]
  cmp byte ptr [watched + 1], 0
  push dword ptr [watched]
  pop dword ptr [watched]
  nop
  BROKEN
  BREAK "write of a word", (offset watched + 2), 0x50001, 9
  mov byte ptr [watched + 1], 1
  mov byte ptr [watched + 2], 1
  mov byte ptr [watched + 3], 1
  mov byte ptr [watched + 4], 1
  nop
  BROKEN
  mov edi, offset watched - 2
  mov ecx, 5
  mov al, 0
  BREAK "rep stosb", (offset watched), 0x10001, 9
  mov al, 7
  rep stosb
  nop
  BROKEN
  BREAK "stack", (offset watched), 0xD0001, 9
  mov ebx, esp
  mov esp, offset watched + 4
  push eax
  nop
  mov esp, ebx
  BROKEN
  BREAK "~ write with TF", (offset watched), 0xD0001, 3
  pushfd
  or dword ptr [esp], 0x100
  popfd
  mov dword ptr [watched], 1
  nop
  nop
  STEPPED
  BROKEN
  ret

others:
  SAY "dr6 and dr7 at rest: "
  xor eax, eax
  mov dr6, eax
  mov dr7, eax
  mov eax, dr6
  HEX eax
  mov eax, dr7
  HEX eax
  mov eax, -1
  mov dr6, eax
  mov eax, 0xFFFF03FF
  mov dr7, eax
  mov eax, dr6
  or eax, 0x1800           # newer CPUs have bit 11; QEMU stores the reserved bit 12
  HEX eax
  mov eax, dr7
  HEX eax
  xor eax, eax
  mov dr7, eax
  NEW_LINE
  SAY "dr4 and dr5 are dr6 and dr7: "
  mov eax, 0x300
  .byte 0x0F, 0x23, 0xE8   # mov dr5, eax
  mov eax, dr7
  HEX eax
  xor eax, eax
  mov dr7, eax
  NEW_LINE
  TRY "dr4 with CR4.DE", 1f
  mov eax, cr4
  or eax, 8
  mov cr4, eax
  .byte 0x0F, 0x21, 0xE0   # mov eax, dr4
1: NEXT
  mov eax, cr4
  and eax, ~8
  mov cr4, eax
  ret

.data
.align 16
source: .ascii "abcdefgh"
  .skip 248                # a handler's stack, in the test of PUSH
watched: .long 0
  .skip 12
.bss
target: .skip 16
base: .skip 4
count: .skip 4

# Segmentation in 32-bit protected mode: loads and their faults, LAR, LSL,
# VERR, VERW, ARPL, LDT, far transfers, privilege changes, I/O permission.
.include "runtime.inc"

.macro DESCRIPTOR selector, base, limit, bits
  mov ebx, \selector
  mov eax, \base
  mov ecx, \limit
  mov edx, \bits
  call set_descriptor
.endm

.text
main:
  DESCRIPTOR SLOT, 0x1000, 0xFFF, 0x9240        # 58 data, ring 0
  DESCRIPTOR SLOT + 0x08, 0x1000, 0xFFF, 0x1240 # 60 not present
  DESCRIPTOR SLOT + 0x10, 0x1000, 0xFFF, 0xF240 # 68 data, ring 3
  DESCRIPTOR SLOT + 0x18, 0, 0xFFFF, 0xDEC0     # 70 conforming code, DPL 2
  DESCRIPTOR SLOT + 0x20, 0, 0xFFFF, 0x98C0     # 78 execute-only code
  DESCRIPTOR SLOT + 0x28, 0, 0xFFFF, 0x9EC0     # 80 conforming code, ring 0
  DESCRIPTOR SLOT + 0x30, 0, 0xFFFF, 0x96C0     # 88 expand-down data
  DESCRIPTOR SLOT + 0x38, 0, 0xFFFF, 0x90C0     # 90 read-only data
  call loads
  call queries
  call local
  call transfers
  call rings
  call ports
  ret

.macro LOAD segment, selector
  TRY "load \segment \selector", 1f
  mov eax, \selector
  mov \segment, ax
  mov eax, 0
  mov ax, \segment
  HEX eax
1: NEXT
.endm

# Back to the flat stack before anything is pushed.
.macro LOAD_STACK selector
  TRY "load ss \selector", 1f
  mov eax, \selector
  mov edx, KDATA
  mov ss, eax
  mov ecx, ss
  mov ss, edx
  HEX ecx
1: NEXT
.endm

.macro ALL_LOADS selector
  LOAD ds, \selector
  LOAD es, \selector
  LOAD fs, \selector
  LOAD gs, \selector
  LOAD_STACK \selector
.endm

loads:
  ALL_LOADS 0
  ALL_LOADS 3
  ALL_LOADS 0x58
  ALL_LOADS 0x5B
  ALL_LOADS 0x60
  ALL_LOADS 0x68
  ALL_LOADS 0x70
  ALL_LOADS 0x78
  ALL_LOADS 0x88
  ALL_LOADS 0x90
  ALL_LOADS 0x40
  ALL_LOADS 0xFFF8
  ALL_LOADS 0x04
  TRY "accessed bits", 1f
  HEX [gdt + 0x58 + 4]
  HEX [gdt + 0x60 + 4]
  HEX [gdt + 0x88 + 4]
1: NEXT
  TRY "base", 1f
  mov eax, 0x58
  mov fs, ax
  mov dword ptr fs:[0x10], 0x12345678
  HEX [0x1010]
  lfs ecx, [far_pointer]
  mov eax, fs
  HEX eax
  HEX ecx
  les ecx, [far_bad]
1: NEXT
  TRY "pop into es", 1f
  push 0x5A
  pop es
1: NEXT
  TRY "mov to cs", 1f
  .byte 0x8E, 0xC8
1: NEXT
  TRY "mov from segment 6", 1f
  .byte 0x8C, 0xF0
1: NEXT
  ret

# LAR, LSL, VERR, VERW of a selector; ZF as the last bit.
.macro QUERY selector
  TRY "query \selector", 1f
  mov ecx, \selector
  mov eax, 0xDEADBEEF
  lar eax, ecx
  setz bl
  movzx ebx, bl
  HEX eax
  HEX ebx
  mov eax, 0xDEADBEEF
  lsl eax, ecx
  setz bl
  HEX eax
  HEX ebx
  verr cx
  setz bl
  HEX ebx
  verw cx
  setz bl
  HEX ebx
1: NEXT
.endm

queries:
  QUERY 0
  QUERY 0x08
  QUERY 0x0B
  QUERY 0x58
  QUERY 0x5B
  QUERY 0x60
  QUERY 0x68
  QUERY 0x6B
  QUERY 0x70
  QUERY 0x73
  QUERY 0x78
  QUERY 0x80
  QUERY 0x83
  QUERY 0x88
  QUERY 0x90
  QUERY 0x40
  QUERY 0x04
  QUERY 0xFF00
  TRY "arpl", 1f
  mov eax, 0x12345678
  mov ecx, 3
  arpl ax, cx
  setz bl
  movzx ebx, bl
  HEX eax
  HEX ebx
  arpl ax, cx
  setz bl
  HEX eax
  HEX ebx
1: NEXT
  TRY "sldt str smsw", 1f
  mov eax, -1
  str eax
  HEX eax
  mov eax, -1
  sldt eax
  HEX eax
  smsw ax
  and eax, 0xF
  HEX eax
  sgdt [scratch]
  movzx eax, word ptr [scratch]
  HEX eax
  mov eax, [scratch + 2]
  sub eax, offset gdt
  HEX eax
1: NEXT
  ret

local:
  DESCRIPTOR LDT, (offset ldt), 15, 0x8200
  mov dword ptr [ldt + 8], 0x2000FFFF
  mov dword ptr [ldt + 12], 0x00409200
  TRY "lldt of data", 1f
  mov eax, SLOT
  lldt ax
1: NEXT
  TRY "lldt", 1f
  mov eax, LDT
  lldt ax
  sldt eax
  HEX eax
  mov eax, 0x0C
  mov fs, ax
  mov dword ptr fs:[0], 0x55AA55AA
  HEX [0x2000]
  mov eax, 0x14
  mov gs, ax
1: NEXT
  TRY "lldt 0", 1f
  xor eax, eax
  lldt ax
  mov eax, 0x0C
  mov gs, ax
1: NEXT
  TRY "ltr of a busy TSS", 1f
  mov eax, TSS
  ltr ax
1: NEXT
  TRY "lmsw sets TS", 1f
  mov eax, 0x9
  lmsw ax
  smsw ax
  and eax, 0xF
  HEX eax
  fninit
1: NEXT
  clts
  mov eax, cr0
  and eax, ~8
  or eax, 2
  mov cr0, eax
  ret

.macro FAR_JUMP selector
  TRY "jmp far \selector", 1f
  jmp \selector:2f
2: mov eax, cs
  HEX eax
1: jmp KCODE:3f
3: NEXT
.endm

transfers:
  FAR_JUMP 0x08
  FAR_JUMP 0x00
  FAR_JUMP 0x58
  FAR_JUMP 0x60
  FAR_JUMP 0x2B
  FAR_JUMP 0x70
  FAR_JUMP 0x78
  FAR_JUMP 0x80
  FAR_JUMP 0x83
  FAR_JUMP 0xFFF8
  TRY "call far and retf", 1f
  mov ebp, esp
  call 0x78:far_callee
  sub ebp, esp
  HEX ebp
1: NEXT
  TRY "retf 8", 1f
  push 1
  push 2
  mov ebp, esp
  push cs
  push offset 2f
  retf 8
2: sub ebp, esp
  HEX ebp
1: NEXT
  # A call gate to the same ring, with no parameters, then as a jump.
  mov dword ptr [gdt + 0xA0], (KCODE << 16)
  mov eax, offset far_callee
  mov [gdt + 0xA0], ax
  and eax, 0xFFFF0000
  or eax, 0x8C00
  mov [gdt + 0xA4], eax
  TRY "call through a gate", 1f
  call 0xA0:0
1: NEXT
  TRY "call through a gate, RPL 3", 1f
  call 0xA3:0
1: NEXT
  and byte ptr [gdt + 0xA5], 0x7F
  TRY "call through an absent gate", 1f
  call 0xA0:0
1: NEXT
  or byte ptr [gdt + 0xA5], 0x80
  TRY "iret to the same ring", 1f
  pushfd
  push cs
  push offset 2f
  iretd
2: SAY "here"
1: NEXT
  TRY "iret to a data segment", 1f
  pushfd
  push 0x58
  push offset 1f
  iretd
1: NEXT
  TRY "int through an absent gate", 1f
  and byte ptr [idt + 0x50 * 8 + 5], 0x7F
  int 0x50
1: NEXT
  TRY "int beyond the IDT", 1f
  int 0x70
1: NEXT
  TRY "into", 1f
  mov al, 0x7F
  inc al
  into
1: NEXT
  TRY "bound", 1f
  mov eax, 5
  bound eax, [bounds]
  SAY "in "
  mov eax, 9
  bound eax, [bounds]
1: NEXT
  ret

far_callee:
  mov eax, cs
  HEX eax
  mov eax, [esp + 4]
  HEX eax
  retf

rings:
  TRY "ring 3", 1f
  USER user_plain
1: NEXT
  TRY "ring 3 loads ring 0 data", 1f
  USER user_load
1: NEXT
  TRY "ring 3 halts", 1f
  USER user_halt
1: NEXT
  TRY "ring 3 disables interrupts", 1f
  USER user_cli
1: NEXT
  TRY "ring 3 pops flags", 1f
  USER user_popf
1: NEXT
  TRY "ring 3 calls a closed interrupt", 1f
  USER user_int
1: NEXT
  TRY "ring 3 breakpoint", 1f
  USER user_int3
1: NEXT
  TRY "ring 3 jumps to conforming code", 1f
  USER user_conforming
1: NEXT
  TRY "ring 3 reads cr0", 1f
  USER user_cr0
1: NEXT
  # Call gate with DPL 3 and two parameters.
  mov eax, offset gate_callee
  mov [gdt + 0xA8], ax
  mov word ptr [gdt + 0xAA], KCODE
  and eax, 0xFFFF0000
  or eax, 0xEC02
  mov [gdt + 0xAC], eax
  TRY "ring 3 calls ring 0 through a gate", 1f
  USER user_gate
1: NEXT
  TRY "ring 3 calls a closed gate", 1f
  USER user_closed_gate
1: NEXT
  ret

user_plain:
  mov eax, cs
  SHOW_EAX
  mov eax, ss
  SHOW_EAX
  mov eax, ds
  SHOW_EAX
  mov eax, 0x70
  verr ax
  setz al
  movzx eax, al
  SHOW_EAX
  LEAVE_USER
user_load:
  mov eax, UDATA
  mov ds, ax
  mov eax, 0x68
  mov es, ax
  mov eax, es
  SHOW_EAX
  mov eax, KDATA
  mov ds, ax
  LEAVE_USER
user_halt:
  hlt
user_cli:
  cli
user_popf:
  push 0x47ED7
  popfd
  pushfd
  pop eax
  SHOW_EAX
  push 2
  popfd
  LEAVE_USER
user_int:
  int 0x20
user_int3:
  int3
user_conforming:
  jmp 0x80:1f
1: mov eax, cs
  SHOW_EAX
  LEAVE_USER
user_cr0:
  mov eax, cr0
user_gate:
  push 0x1111
  push 0x2222
  call 0xAB:0
  mov eax, esp
  sub eax, offset user_stack_top
  SHOW_EAX
  mov eax, ds
  SHOW_EAX
  LEAVE_USER
user_closed_gate:
  call 0xA3:0

# Stack: eip, cs, two parameters, esp, ss
gate_callee:
  mov eax, cs
  SHOW_EAX
  mov eax, [esp + 4]
  SHOW_EAX
  mov eax, [esp + 8]
  SHOW_EAX
  mov eax, [esp + 12]
  SHOW_EAX
  mov eax, [esp + 20]
  SHOW_EAX
  mov eax, KDATA
  mov ds, ax
  retf 8

# The I/O bitmap lets ports 0xE8 to 0xEF through, as far as the TSS limit goes.
ports:
  mov dword ptr [tss + 104], -1
  mov ecx, 0
1: mov byte ptr [tss + 104 + ecx], 0xFF
  inc ecx
  cmp ecx, 33
  jb 1b
  mov byte ptr [tss + 104 + 0xE8 / 8], 0
  TRY "ring 3 writes an open port", 1f
  USER user_port
1: NEXT
  TRY "ring 3 writes a closed port", 1f
  USER user_closed_port
1: NEXT
  TRY "ring 3 writes two ports, one closed", 1f
  USER user_half_port
1: NEXT
  TRY "ring 3 writes a port beyond the TSS", 1f
  USER user_far_port
1: NEXT
  TRY "ring 3 with IOPL 3", 1f
  push UDATA
  push offset user_stack_top
  push 0x3002
  push UCODE
  push offset user_iopl
  iretd
1: NEXT
  ret

user_port:
  mov al, '!'
  out 0xE9, al
  LEAVE_USER
user_closed_port:
  in al, 0x71
user_half_port:
  mov eax, 0x2121
  mov edx, 0xEF
  out dx, ax
user_far_port:
  mov edx, 0x4000
  in al, dx
user_iopl:
  mov al, '?'
  out 0xE9, al
  cli
  sti
  cli
  pushfd
  pop eax
  and eax, 0xFF00
  SHOW_EAX
  LEAVE_USER

.data
far_pointer: .long 0x87654321
  .word 0x58
far_bad: .long 0
  .word 0x60
bounds: .long 1, 8
.bss
scratch: .skip 16
.align 8
ldt: .skip 32

# 64-bit mode: frames and stacks of exceptions, canonical addresses, SYSCALL and
# SYSRET, compatibility mode, far transfers, segment bases, control registers.
.include "runtime.inc"
.include "runtime64.inc"

.text
.code32
main: jmp enter_long

.code64
main64:
  call frames
  call addresses
  call system_calls
  call compatibility
  call transfers
  call bases
  call control
  ret

frames:
  TRY64 "frame from an odd stack pointer", 1f
  sub rsp, 5
  ud2
1: NEXT64
  TRY64 "frame with an error code", 1f
  mov eax, 0xFFF8
  mov ds, ax
1: NEXT64
  TRY64 "frame on an IST stack", 1f
  mov byte ptr [idt64 + 6 * 16 + 4], 1
  ud2
1: mov byte ptr [idt64 + 6 * 16 + 4], 0
  NEXT64
  TRY64 "from ring 3", 1f
  USER64 user_ud2
1: NEXT64
  TRY64 "ring 3 to an IST stack", 1f
  mov byte ptr [idt64 + 6 * 16 + 4], 1
  USER64 user_ud2
1: mov byte ptr [idt64 + 6 * 16 + 4], 0
  NEXT64
  TRY64 "ring 3 reads selectors", 1f
  USER64 user_selectors
1: NEXT64
  TRY64 "ring 3 privileged", 1f
  USER64 user_hlt
1: NEXT64
  TRY64 "double fault", 1f
  and byte ptr [idt64 + 13 * 16 + 5], 0x7F
  and byte ptr [idt64 + 11 * 16 + 5], 0x7F
  mov eax, 0xFFF8
  mov ds, ax
1: or byte ptr [idt64 + 13 * 16 + 5], 0x80
  or byte ptr [idt64 + 11 * 16 + 5], 0x80
  NEXT64
  TRY64 "~ fault while delivering one", 1f
  and byte ptr [idt64 + 6 * 16 + 5], 0x7F
  ud2
1: or byte ptr [idt64 + 6 * 16 + 5], 0x80
  NEXT64
  TRY64 "gate to a 32-bit segment", 1f
  mov word ptr [idt64 + 0x50 * 16 + 2], KCODE
  int 0x50
1: NEXT64
  TRY64 "iretq to the same ring pops the stack", 1f
  mov rbx, rsp
  push 0
  push rbx
  pushfq
  push CODE64
  push offset 2f
  iretq
2: sub rbx, rsp
  HEX64 rbx
  mov eax, ss
  HEX64 rax
1: NEXT64
  ret

user_ud2: ud2
user_hlt: hlt
user_selectors:
  mov eax, cs
  int 0x41
  mov eax, ss
  int 0x41
  mov eax, ds
  int 0x41
  int 0x40

addresses:
  TRY64 "not canonical, read", 1f
  mov rax, 0x800000000000
  mov al, [rax]
1: NEXT64
  TRY64 "~ not canonical, write across the border", 1f
  mov rax, 0x7FFFFFFFFFFC
  mov [rax], rax
1: NEXT64
  TRY64 "~ not canonical, stack", 1f
  mov rbp, 0x8000000000000000
  mov rax, [rbp]
1: NEXT64
  TRY64 "~ jump to a not canonical address", 1f
  mov rax, 0x800000000000
  jmp rax
1: NEXT64
  TRY64 "unmapped, upper half", 1f
  mov rax, -8
  mov rax, [rax]
1: NEXT64
  TRY64 "null selectors work", 1f
  xor eax, eax
  mov fs, ax
  mov rax, fs:[far64]
  HEX64 rax
1: NEXT64
  TRY64 "null ss in ring 0", 1f
  xor eax, eax
  mov ss, ax
  push 0x1234
  pop rax
  HEX64 rax
1: NEXT64
  TRY64 "~ null ss with another RPL", 1f
  mov eax, 3
  mov ss, ax
1: NEXT64
  TRY64 "moffs", 1f
  movabs al, [0x800000000000]
1: NEXT64
  ret

.macro SET_MSR number, low, high=0
  mov ecx, \number
  mov eax, \low
  mov edx, \high
  wrmsr
.endm

system_calls:
  # STAR: SYSCALL to CODE64 (with SS 40, which is not looked at).
  SET_MSR 0xC0000081, 0, (SYSRET_BASE << 16) + CODE64
  SET_MSR 0xC0000082, (offset syscall_entry)
  SET_MSR 0xC0000083, (offset syscall_compat)
  SET_MSR 0xC0000084, 0x0600
  TRY64 "syscall and sysret", 1f
  USER64 user_syscall
1: NEXT64
  TRY64 "syscall from compatibility mode", 1f
  USER64 user_syscall32, UCODE
1: NEXT64
  TRY64 "sysret to compatibility mode", 1f
  mov ecx, offset user_after_sysret32
  mov r11d, 2
  mov esp, offset user_stack_top
  .byte 0x0F, 0x07         # sysret to 32 bits
1: NEXT64
  TRY64 "sysret in ring 3", 1f
  USER64 user_sysret
1: NEXT64
  TRY64 "syscall without SCE", 1f
  mov ecx, 0xC0000080
  rdmsr
  and eax, ~1
  wrmsr
  USER64 user_syscall
1: mov ecx, 0xC0000080
  rdmsr
  or eax, 1
  wrmsr
  NEXT64
  ret

user_syscall:
  mov rdx, 0x123456789
  stc
  std
  syscall
  int 0x41
  mov rax, rcx
  sub rax, offset user_syscall
  int 0x41
  mov rax, r11
  int 0x41
  mov eax, cs
  int 0x41
  mov eax, ss
  int 0x41
  pushfq
  pop rax
  cld
  int 0x41
  int 0x40
user_sysret: sysretq
syscall_entry:
  mov rsp, offset stack_top - 512
  HEX64 rcx
  HEX64 r11
  pushfq
  pop rax
  and eax, 0x7700
  HEX64 rax
  mov eax, cs
  HEX64 rax
  mov eax, ss
  HEX64 rax
  HEX64 rdx
  mov rsp, offset user_stack_top
  sysretq
syscall_compat:
  mov rsp, offset stack_top - 512
  HEX64 rcx
  HEX64 r11
  jmp leave64
.code32
user_syscall32:
  mov eax, cs
  int 0x41
  syscall
user_after_sysret32:
  mov eax, cs
  int 0x41
  mov eax, ss
  int 0x41
  mov eax, 0x12345678
  dec eax
  int 0x41
  int 0x40

.code64
compatibility:
  TRY64 "32-bit ring 3", 1f
  USER64 user32, UCODE
1: NEXT64
  TRY64 "32-bit ring 3 faults", 1f
  USER64 user32_fault, UCODE
1: NEXT64
  TRY64 "32-bit ring 0 by a far return", 1f
  push KCODE
  push offset kernel32
  retfq
back64:
  HEX64 rax
  HEX64 rsp
1: NEXT64
  ret
.code32
user32:
  mov eax, UDATA
  mov ds, ax
  mov es, ax
  mov eax, esp
  int 0x41
  push 0x11223344
  pop eax
  int 0x41
  inc eax                  # 40: a REX prefix in 64-bit mode
  int 0x41
  aaa
  int 0x40
user32_fault:
  mov eax, UDATA
  mov ds, ax
  mov eax, [0xFFFFFFF0]
kernel32:
  mov eax, KDATA
  mov ss, ax
  mov ds, ax
  mov ebx, esp
  push eax
  sub ebx, esp
  pop eax
  mov eax, ebx
  jmp CODE64:back64

.code64
transfers:
  TRY64 "far call through memory", 1f
  mov rbx, rsp
  call fword ptr [far64]
  sub rbx, rsp
  HEX64 rbx
1: NEXT64
  TRY64 "far jump to a data segment", 1f
  mov word ptr [far64 + 4], KDATA
  jmp fword ptr [far64]
1: mov word ptr [far64 + 4], CODE64
  NEXT64
  # A 64-bit call gate: 16 bytes.
  mov rax, offset gate64
  mov [gdt + 0xA0], ax
  mov word ptr [gdt + 0xA2], CODE64
  mov word ptr [gdt + 0xA4], 0xEC00
  shr rax, 16
  mov [gdt + 0xA6], ax
  mov qword ptr [gdt + 0xA8], 0
  TRY64 "call gate in ring 0", 1f
  mov rbx, rsp
  mov word ptr [far64 + 4], 0xA0
  call fword ptr [far64]
  sub rbx, rsp
  HEX64 rbx
1: NEXT64
  TRY64 "call gate from ring 3", 1f
  mov word ptr [far64 + 4], 0xA3
  USER64 user_gate64
1: mov word ptr [far64 + 4], CODE64
  NEXT64
  TRY64 "call gate with bad upper half", 1f
  mov dword ptr [gdt + 0xAC], 0x0C00
  mov word ptr [far64 + 4], 0xA0
  call fword ptr [far64]
1: mov dword ptr [gdt + 0xAC], 0
  mov word ptr [far64 + 4], CODE64
  NEXT64
  TRY64 "busy TSS in long mode", 1f
  mov eax, TSS2
  ltr ax
1: NEXT64
  TRY64 "jump to a TSS in long mode", 1f
  mov word ptr [far64 + 4], TSS2
  jmp fword ptr [far64]
1: mov word ptr [far64 + 4], CODE64
  NEXT64
  ret

far_target64:
  mov eax, [rsp]
  sub eax, offset transfers
  HEX64 rax
  mov eax, [rsp + 4]
  HEX64 rax
  .byte 0xCB               # retf with a 32-bit operand
gate64:
  mov eax, cs
  HEX64 rax
  mov eax, ss
  HEX64 rax
  mov rax, [rsp + 8]
  HEX64 rax
  retfq
user_gate64:
  call fword ptr [far64]
  mov eax, cs
  int 0x41
  int 0x40

bases:
  TRY64 "fs and gs bases", 1f
  SET_MSR 0xC0000100, (offset far64 - 8)
  mov rax, fs:[8]
  HEX64 rax
  SET_MSR 0xC0000101, (offset far64 - 16)
  mov rax, gs:[16]
  HEX64 rax
  SET_MSR 0xC0000102, 0x11110000, 0x22
  swapgs
  mov ecx, 0xC0000101
  rdmsr
  HEX64 rax
  HEX64 rdx
  swapgs
1: NEXT64
  TRY64 "base from a descriptor", 1f
  mov eax, KDATA
  mov gs, ax
  mov ecx, 0xC0000101
  rdmsr
  HEX64 rax
1: NEXT64
  TRY64 "rdfsbase without FSGSBASE", 1f
  rdfsbase rax
1: NEXT64
  TRY64 "wrfsbase and rdgsbase", 1f
  mov rax, cr4
  or eax, 0x10000
  mov cr4, rax
  mov rax, 0x0000123456789ABC
  wrfsbase rax
  mov ecx, 0xC0000100
  rdmsr
  HEX64 rax
  wrgsbase eax
  rdgsbase rax
  HEX64 rax
1: NEXT64
  TRY64 "~ wrfsbase of an address that is not canonical", 1f
  mov rax, 0x1234567800000000
  wrfsbase rax
1: NEXT64
  TRY64 "swapgs in ring 3", 1f
  USER64 user_swapgs
1: NEXT64
  ret
user_swapgs: swapgs

control:
  TRY64 "cr8", 1f
  mov eax, 5
  mov cr8, rax
  xor eax, eax
  mov rax, cr8
  HEX64 rax
1: NEXT64
  TRY64 "~ cr8 beyond 15", 1f
  mov eax, 16
  mov cr8, rax
1: NEXT64
  TRY64 "mov to cr1", 1f
  .byte 0x0F, 0x22, 0xC8
1: NEXT64
  TRY64 "cr0 keeps ET", 1f
  mov rax, cr0
  and rax, ~0x10
  mov cr0, rax
  mov rax, cr0
  and rax, 0x10
  HEX64 rax
1: NEXT64
  TRY64 "UMIP", 1f
  mov rax, cr4
  bts rax, 11
  mov cr4, rax
  USER64 user_sgdt
1: mov rax, cr4
  btr rax, 11
  mov cr4, rax
  NEXT64
  TRY64 "rdtsc with TSD in ring 3", 1f
  mov rax, cr4
  bts rax, 2
  mov cr4, rax
  USER64 user_rdtsc
1: mov rax, cr4
  btr rax, 2
  mov cr4, rax
  NEXT64
  TRY64 "instructions that are gone", 1f
  .byte 0x06
1: NEXT64
  TRY64 "into", 1f
  .byte 0xCE
1: NEXT64
  TRY64 "sixteen bytes", 1f
  .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
1: NEXT64
  ret
user_sgdt: sgdt [rsp - 64]
user_rdtsc: rdtsc

.data
.align 8
far64: .long far_target64
  .word CODE64, 0

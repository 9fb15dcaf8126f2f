# Values that control registers and MSRs refuse. Not for QEMU, which takes most of them.
.include "runtime.inc"
.include "runtime64.inc"

.macro SET_MSR number, low, high=0
  mov ecx, \number
  mov eax, \low
  mov edx, \high
  wrmsr
.endm

.macro TRY_MSR text, number, low, high=0
  TRY64 "\text", 1f
  SET_MSR \number, \low, \high
  SAY64 "done"
1: NEXT64
.endm

.text
.code32
main: jmp enter_long

.code64
main64:
  TRY_MSR "LSTAR not canonical", 0xC0000082, 0, 0x8000
  TRY_MSR "EFER reserved bit", 0xC0000080, 0x10901
  TRY_MSR "LME off while paging", 0xC0000080, 0x801
  TRY64 "unknown MSR", 1f
  mov ecx, 0x12345
  rdmsr
1: NEXT64
  TRY64 "paging off in 64-bit mode", 1f
  mov rax, cr0
  btr rax, 31
  mov cr0, rax
1: NEXT64
  TRY64 "PAE off", 1f
  mov rax, cr4
  btr rax, 5
  mov cr4, rax
1: NEXT64
  TRY64 "reserved bit of cr4", 1f
  mov rax, cr4
  bts rax, 31
  mov cr4, rax
1: NEXT64
  TRY64 "upper half of cr0", 1f
  mov rax, cr0
  bts rax, 32
  mov cr0, rax
1: NEXT64
  TRY64 "NW without CD", 1f
  mov rax, cr0
  bts rax, 29
  mov cr0, rax
1: NEXT64
  TRY64 "LA57 while in long mode", 1f
  mov rax, cr4
  bts rax, 12
  mov cr4, rax
1: NEXT64
  TRY64 "PCIDE with a PCID in cr3", 1f
  mov rax, cr3
  or rax, 1
  mov cr3, rax
  mov rax, cr4
  bts rax, 17
  mov cr4, rax
1: NEXT64
  TRY64 "reserved bits of cr3", 1f
  mov rax, cr3
  bts rax, 60
  mov cr3, rax
1: NEXT64
  TRY64 "mov to cr8 of a reserved bit", 1f
  mov eax, 0x100
  mov cr8, rax
1: NEXT64
  TRY64 "upper half of dr7", 1f
  mov rax, 0x100000400
  mov dr7, rax
1: NEXT64
  TRY64 "icebp", 1f
  .byte 0xF1
1: NEXT64
  TRY64 "xsetbv without x87", 1f
  mov rax, cr4
  bts rax, 18
  mov cr4, rax
  xor ecx, ecx
  xor edx, edx
  mov eax, 2
  xsetbv
1: NEXT64
  TRY64 "xsetbv of AVX without SSE", 1f
  mov eax, 5
  xsetbv
1: NEXT64
  ret

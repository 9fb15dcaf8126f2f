# 4- and 5-level paging: rights at every level, NX, WP, SMEP, SMAP with AC,
# large pages, accessed and dirty bits, addresses of 57 bits.
.include "runtime.inc"
.include "runtime64.inc"

.set TEST, 0x40000000              # the test page: entry 1 of the lowest pointer table
.set USER, 0x80000000              # all of RAM once more, for ring 3
.set NX, 1 << 63

.text
.code32
main: jmp enter_long

.code64
main64:
  # The identity mapping becomes the supervisor's; ring 3 has its own.
  xor ecx, ecx
1: mov rax, [page_directory + rcx * 8]
  mov [user_directory + rcx * 8], rax
  and byte ptr [page_directory + rcx * 8], ~U
  inc ecx
  cmp ecx, 32
  jb 1b
  mov qword ptr [pdpt + 16], offset user_directory + P + W + U
  mov dword ptr [page + 0], 0xC3C3C3C3
  mov rax, cr3
  mov cr3, rax
  call rights
  call levels
  call large
  call five
  ret

# ---- accesses to [rdi]; each ends in INT 0x40 ----
.macro ACCESS name, instruction:vararg
\name: \instruction
  int 0x40
.endm
ACCESS read, mov rax, [rdi]
ACCESS write, mov byte ptr [rdi + 8], 1
ACCESS execute, call rdi
read_ac: stac
  mov rax, [rdi]
  int 0x40
write_ac: stac
  mov byte ptr [rdi + 8], 1
  int 0x40
execute_ac: stac
  call rdi
  int 0x40

# Enters ring 3 at the address in rax.
to_user:
  mov edx, USER
  add rax, rdx
  push UDATA
  movabs rdx, USER + offset user_stack_top
  push rdx
  push 2
  push UCODE64
  push rax
  iretq

# All accesses to rdi, in ring 0 then in ring 3: the vector's low digit and the error code, or ok.
probe:
  push rbx
  push rbp
  mov qword ptr [quiet64], 1
  xor ebx, ebx
1: mov rax, cr3
  mov cr3, rax
  mov qword ptr [caught64], -1
  mov qword ptr [resume_rip], offset 2f
  mov [resume_rsp], rsp
  mov [saved], rbx
  mov [saved + 8], rdi
  mov rax, [accesses + rbx * 8]
  cmp ebx, 6
  jae to_user
  jmp rax
2: mov rbx, [saved]
  mov rdi, [saved + 8]
  mov rax, [caught64]
  cmp rax, -1
  jne 3f
  SAY64 "ok "
  jmp 4f
3: mov rdx, [caught64 + 8]
  call put_byte
4: inc ebx
  cmp ebx, 9
  jb 1b
  mov qword ptr [quiet64], 0
  pop rbp
  pop rbx
  ret

# Prints dl and a blank.
put_byte:
  ror dl, 4
  call 1f
  ror dl, 4
  call 1f
  mov al, ' '
  out 0xE9, al
  ret
1: mov al, dl
  and al, 15
  cmp al, 10
  jb 2f
  add al, 7
2: add al, '0'
  out 0xE9, al
  ret

# A table for the test page; its entry is [table].
map_test:
  mov qword ptr [pdpt + 8], offset test_directory + P + W + U
  mov qword ptr [test_directory], offset table + P + W + U
  mov qword ptr [table], offset page + P + W + U
  mov rdi, TEST
  ret

rights:
  call map_test
  mov ebp, 0                       # bit 0 SMEP, bit 1 SMAP, bit 2 no WP
1: mov rax, cr4
  and rax, ~0x300000
  mov ecx, ebp
  and ecx, 3
  shl ecx, 20
  or rax, rcx
  mov cr4, rax
  mov rax, cr0
  or rax, 0x10000
  test ebp, 4
  jz 2f
  and rax, ~0x10000
2: mov cr0, rax
  SAY64 "SMEP, SMAP, no WP: "
  HEX64 rbp
  NEW_LINE64
  mov rbx, offset entries
3: mov rax, [rbx]
  HEX64 rax
  mov rcx, offset page
  or rax, rcx
  mov [table], rax
  call probe
  mov rax, [table]
  and eax, 0xFFF
  HEX64 rax
  NEW_LINE64
  add rbx, 8
  cmp rbx, offset entries_end
  jb 3b
  inc ebp
  cmp ebp, 8
  jb 1b
  mov rax, cr4
  and rax, ~0x300000
  mov cr4, rax
  mov rax, cr0
  or rax, 0x10000
  mov cr0, rax
  ret

# Takes W, U or P away, or sets NX, at each level above the page.
levels:
  mov rbx, offset level_entries
1: mov rbp, offset level_changes
2: call map_test
  mov rax, [rbx]
  mov rcx, [rax]
  push rcx
  or rcx, [rbp]
  and rcx, [rbp + 8]
  mov [rax], rcx
  HEX64 [rbp]
  HEX64 [rbp + 8]
  call probe
  pop rcx
  mov rax, [rbx]
  mov [rax], rcx
  mov rax, cr3
  mov cr3, rax
  NEW_LINE64
  add rbp, 16
  cmp rbp, offset level_changes_end
  jb 2b
  add rbx, 8
  cmp rbx, offset level_entries_end
  jb 1b
  ret

large:
  SAY64 "2 MiB: "
  call map_test
  mov qword ptr [test_directory], P + W + U + PS
  lea rdi, [TEST + page]
  call probe
  mov rax, [test_directory]
  HEX64 rax
  NEW_LINE64
  SAY64 "1 GiB: "
  mov qword ptr [pdpt + 8], P + W + U + PS
  call probe
  mov rax, [pdpt + 8]
  HEX64 rax
  NEW_LINE64
  SAY64 "1 GiB, read-only, NX: "
  mov rax, P + U + PS + NX
  mov [pdpt + 8], rax
  call probe
  NEW_LINE64
  SAY64 "~ reserved bit of a 2-MiB page: "
  call map_test
  mov qword ptr [test_directory], P + W + U + PS + 0x2000
  call probe
  NEW_LINE64
  SAY64 "~ PS in the top level: "
  call map_test
  or byte ptr [pml4 + 8 * 1], P + W + U + PS
  mov rdi, 1 << 39
  call probe
  mov qword ptr [pml4 + 8], 0
  NEW_LINE64
  ret

# Paging off in 32-bit code, LA57 on, a fifth level.
five:
  TRY64 "48 bits", 1f
  mov rax, 0x800000000000
  mov rax, [rax]
1: NEXT64
  push KCODE
  push offset leave_paging
  retfq
.code32
leave_paging:
  mov eax, KDATA
  mov ds, eax
  mov ss, eax
  mov eax, cr0
  and eax, 0x7FFFFFFF
  mov cr0, eax
  mov eax, cr4
  or eax, 0x1000
  mov cr4, eax
  mov eax, offset pml5
  mov cr3, eax
  mov dword ptr [pml5], offset pml4 + P + W + U
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  jmp CODE64:1f
.code64
1: xor eax, eax
  mov ds, ax
  mov ss, ax
  TRY64 "57 bits, unmapped", 1f
  mov rax, 0x800000000000
  mov rax, [rax]
1: NEXT64
  TRY64 "57 bits, mapped", 1f
  mov qword ptr [pml5 + 8], offset pml4 + P + W + U
  movabs rax, 0x1000000000000 + offset page
  mov rax, [rax]
  mov edx, eax
  HEX64 rdx
1: NEXT64
  TRY64 "57 bits, not canonical", 1f
  mov rax, 0x100000000000000
  mov rax, [rax]
1: NEXT64
  TRY64 "57 bits, upper half", 1f
  mov rax, 0xFF00000000000000
  mov rax, [rax]
1: NEXT64
  call map_test
  mov rax, cr3
  mov cr3, rax
  call probe
  NEW_LINE64
  TRY64 "~ LA57 off in long mode", 1f
  mov rax, cr4
  btr rax, 12
  mov cr4, rax
1: NEXT64
  ret

.data
accesses: .quad read, write, execute, read_ac, write_ac, execute_ac, read, write, execute
entries:
  .quad P + W + U, P + W, P + U, P, 0, P + W + U + NX, P + W + NX, P + NX
entries_end:
level_entries: .quad test_directory, pdpt + 8
level_entries_end:
# Bits to set, bits to keep.
level_changes:
  .quad 0, ~P, 0, ~W, 0, ~U, 0, ~(W + U), NX, -1, 0, -1
level_changes_end:

.bss
saved: .skip 16
.align 4096
user_directory: .skip 4096
test_directory: .skip 4096
table: .skip 4096
page: .skip 4096
pml5: .skip 4096

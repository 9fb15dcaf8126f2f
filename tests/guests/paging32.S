# 32-bit paging and PAE: rights of directory and table entries, large pages,
# reserved bits, NX, WP, global pages, A and D bits, CR2, page-crossing accesses.
.include "runtime.inc"

.set TEST, 0x40000000      # linear address of the test pages
.set P, 1
.set W, 2
.set U, 4
.set A, 0x20
.set D, 0x40
.set PS, 0x80
.set G, 0x100

.text
main:
  # Page contents: RET, in two pages.
  mov dword ptr [page0], 0xC3C3C3C3
  mov dword ptr [page1], 0xC3C3C3C3
  mov dword ptr [page0 + 4092], 0x11223344
  mov dword ptr [page1 + 4], 0x55667788
  call legacy
  call pae
  ret

# ---- the six accesses to [edi]: read, write, execute, in ring 0 and in ring 3 ----

# Prints for each one the vector and error code it gives, or "ok".
probe:
  push ebp
  push ebx
  mov byte ptr [quiet], 1
  mov ecx, 0
1: mov [access], ecx
  mov eax, cr3
  mov cr3, eax
  mov dword ptr [caught_vector], -1
  mov dword ptr [resume_eip], offset 2f
  mov [resume_esp], esp
  mov [saved_edi], edi
  jmp [accesses + ecx * 4]
2: mov edi, [saved_edi]
  mov ecx, [access]
  mov eax, [caught_vector]
  cmp eax, -1
  jne 3f
  SAY "ok "
  jmp 4f
3: mov edx, eax
  shl edx, 28
  rol edx, 4
  call put_digit
  mov al, ':'
  out 0xE9, al
  mov edx, [caught_error]
  push edx
  shr edx, 4
  push ecx
  call put_digit
  pop ecx
  pop edx
  call put_digit
  mov al, ' '
  out 0xE9, al
4: inc ecx
  cmp ecx, 6
  jb 1b
  mov byte ptr [quiet], 0
  mov eax, KDATA
  mov ds, eax
  mov es, eax
  pop ebx
  pop ebp
  ret

read0: mov eax, [edi]
  LEAVE_USER
write0: mov byte ptr [edi + 8], 1
  LEAVE_USER
execute0: call edi
  LEAVE_USER
read3: USER user_read
user_read: mov eax, [edi]
  LEAVE_USER
write3: USER user_write
user_write: mov byte ptr [edi + 8], 1
  LEAVE_USER
execute3: USER user_execute
user_execute: call edi
  LEAVE_USER

# ---- 32-bit paging ----

legacy:
  # Identity: 4-MiB pages, open to all.
  mov ecx, 0
1: mov eax, ecx
  shl eax, 22
  or eax, P + W + U + PS
  mov [directory + ecx * 4], eax
  inc ecx
  cmp ecx, 16
  jb 1b
  mov eax, cr4
  or eax, 0x10             # PSE
  mov cr4, eax
  mov eax, offset directory
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  SAY "paging on\n"

  xor ebx, ebx             # WP
1: SAY "WP "
  HEX ebx
  NEW_LINE
  mov eax, cr0
  and eax, ~0x10000
  mov ecx, ebx
  shl ecx, 16
  or eax, ecx
  mov cr0, eax
  mov ebp, offset rights
2: mov eax, offset table
  or eax, [ebp]
  mov [directory + (TEST >> 22) * 4], eax
  mov eax, offset page0
  or eax, [ebp + 4]
  mov [table], eax
  HEX [ebp]
  HEX [ebp + 4]
  mov edi, TEST
  call probe
  # Whether A is set above an absent entry is up to the CPU.
  test byte ptr [ebp + 4], P
  jz 3f
  mov eax, [directory + (TEST >> 22) * 4]
  and eax, 0xFFF
  HEX eax
3: mov eax, [table]
  and eax, 0xFFF
  HEX eax
  NEW_LINE
  add ebp, 8
  cmp ebp, offset rights_end
  jb 2b
  inc ebx
  cmp ebx, 2
  jb 1b

  SAY "large page\n"
  mov ebp, offset large_rights
1: mov eax, [ebp]
  mov [directory + (TEST >> 22) * 4], eax
  test eax, 0x200000       # reserved bits: QEMU forgets P in the error code
  jz 2f
  SAY "~ "
2: HEX eax
  mov edi, TEST + offset page0
  call probe
  mov eax, [directory + (TEST >> 22) * 4]
  HEX eax
  NEW_LINE
  add ebp, 4
  cmp ebp, offset large_rights_end
  jb 1b

  mov eax, offset table
  or eax, P + W + U
  mov [directory + (TEST >> 22) * 4], eax
  mov eax, offset page0
  or eax, P + W + U
  mov [table], eax
  mov dword ptr [table + 4], 0
  mov eax, cr3
  mov cr3, eax
  TRY "crossing into an absent page", 1f
  mov eax, [TEST + 4094]
1: NEXT
  TRY "crossing write leaves the first page alone", 1f
  mov dword ptr [TEST + 4094], -1
1: HEX [page0 + 4092]
  NEXT
  mov eax, offset page1
  or eax, P + U
  mov [table + 4], eax
  TRY "crossing into a read-only page", 1f
  mov dword ptr [TEST + 4094], -1
1: HEX [page0 + 4092]
  NEXT
  TRY "crossing read", 1f
  mov eax, [TEST + 4094]
  HEX eax
1: NEXT

  # A translation stays until INVLPG, where the CPU may keep it; so only the new one is looked at.
  TRY "remap and invlpg", 1f
  mov eax, [TEST + 4]
  mov eax, offset page1
  or eax, P + W + U
  mov [table], eax
  invlpg [TEST]
  HEX [TEST + 4]
1: NEXT
  TRY "global page survives a load of cr3, not of cr4", 1f
  mov eax, cr4
  or eax, 0x80             # PGE
  mov cr4, eax
  mov eax, offset page0
  or eax, P + W + U + G
  mov [table], eax
  invlpg [TEST]
  HEX [TEST + 4092]
  mov eax, offset page1
  or eax, P + W + U
  mov [table], eax
  mov eax, cr4
  and eax, ~0x80
  mov cr4, eax
  HEX [TEST + 4]
1: NEXT
  TRY "dirty and accessed by a locked instruction", 1f
  mov eax, offset page0
  or eax, P + W + U
  mov [table], eax
  invlpg [TEST]
  xor eax, eax
  mov ecx, 5
  lock cmpxchg [TEST + 16], ecx
  mov eax, [table]
  and eax, 0xFFF
  HEX eax
1: NEXT
  mov eax, cr0
  and eax, 0x7FFFFFFF
  mov cr0, eax
  mov eax, cr4
  and eax, ~0x10
  mov cr4, eax
  ret

# ---- PAE ----

pae:
  mov eax, offset pae_directory
  or eax, P
  mov [pointers], eax
  mov eax, offset pae_test_directory
  or eax, P
  mov [pointers + 8], eax
  mov ecx, 0
1: mov eax, ecx
  shl eax, 21
  or eax, P + W + U + PS
  mov [pae_directory + ecx * 8], eax
  inc ecx
  cmp ecx, 32
  jb 1b
  mov eax, cr4
  or eax, 0x20             # PAE
  mov cr4, eax
  mov eax, offset pointers
  mov cr3, eax
  TRY "~ reserved bit in a pointer entry", 1f
  mov dword ptr [pointers + 16], 0x1E7
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
1: NEXT
  mov dword ptr [pointers + 16], 0
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  SAY "PAE on\n"
  mov eax, offset pae_table
  or eax, P + W + U
  mov [pae_test_directory], eax
  mov ebp, offset pae_rights
1: mov eax, offset page0
  or eax, [ebp]
  mov [pae_table], eax
  mov eax, [ebp + 4]
  mov [pae_table + 4], eax
  mov ecx, 0xC0000080
  rdmsr
  or eax, 0x800
  test byte ptr [ebp + 8], 1
  jnz 2f
  and eax, ~0x800
2: wrmsr
  test byte ptr [ebp + 9], 1
  jz 3f
  SAY "~ "
3: HEX [ebp + 4]
  HEX [ebp]
  HEX [ebp + 8]
  mov edi, TEST
  call probe
  NEW_LINE
  add ebp, 12
  cmp ebp, offset pae_rights_end
  jb 1b

  SAY "2-MiB page\n"
  mov dword ptr [pae_test_directory], P + W + U + PS
  mov edi, TEST + offset page0
  call probe
  HEX [pae_test_directory]
  NEW_LINE
  mov dword ptr [pae_test_directory], P + W + U + PS + 0x2000
  SAY "~ "
  call probe
  NEW_LINE
  TRY "pointer entry cleared", 1f
  mov dword ptr [pointers + 8], 0
  mov ecx, cr3
  mov cr3, ecx
  HEX [TEST + 4092]
1: NEXT
  TRY "~ load of cr3 with a bad pointer entry", 1f
  mov dword ptr [pointers + 8], 0x1E7
  mov ecx, cr3
  mov cr3, ecx
1: NEXT
  mov dword ptr [pointers + 8], 0
  mov eax, cr0
  and eax, 0x7FFFFFFF
  mov cr0, eax
  ret

.data
accesses: .long read0, write0, execute0, read3, write3, execute3
.macro PAIRS first
  .long \first, P + W + U, \first, P + U, \first, P + W, \first, P, \first, 0
.endm
rights:
  PAIRS P + W + U
  PAIRS P + U
  PAIRS P + W
  PAIRS P
  .long 0, P + W + U, P + W + U, P + W + U + A, P + W + U, P + W + U + G
rights_end:
large_rights: .long P + W + U + PS, P + U + PS, P + W + PS, P + PS, P + W + U + PS + 0x200000, P + W + U + PS + G
large_rights_end:
# Low and high half of the entry; bit 0: EFER.NXE, bit 8: a reserved bit is set.
pae_rights:
  .long P + W + U, 0, 0
  .long P + W + U, 0, 1
  .long P + W + U, 0x80000000, 1
  .long P + W + U, 0x80000000, 0x100
  .long P + U, 0x80000000, 1
  .long P, 0x80000000, 1
  .long 0, 0x80000000, 1
  .long P + W + U, 0x40000000, 0x101
  .long P + W + U, 0x00100000, 0x101
  .long P + W + U, 0x80100000, 0x101
pae_rights_end:

.bss
access: .skip 4
saved_edi: .skip 4
.align 4096
directory: .skip 4096
table: .skip 4096
page0: .skip 4096
page1: .skip 4096
pae_directory: .skip 4096
pae_test_directory: .skip 4096
pae_table: .skip 4096
pointers: .skip 32

/**
 * What a vCPU's thread executes: some fifty instructions of x86-64, because a thread that calls KVM_RUN and waits needs
 * no JavaScript, and a worker with its engine costs 15 MiB and a twentieth of a second (docs/adr/0016). System calls are
 * made directly. Registers as in the System V ABI: an argument comes in rdi; rbx, r12 and r13 are the caller's.
 */

/** Offsets in bytes, in a vCPU's own line and in the head of all lines. */
export interface ThreadLayout {
  readonly lineBytes: number;
  /** Whose turn it is: 0 the machine's, 1 the guest's, 2 the end. */
  readonly turn: number;
  readonly result: number;
  readonly attention: number;
  readonly threadId: number;
  readonly asleep: number;
  readonly vcpuFd: number;
  readonly doorbellFd: number;
  /** Addresses of the run page and of the head. */
  readonly runPage: number;
  readonly headAddress: number;
  /** A set of signals, the 64-bit number 1, and a time of zero. */
  readonly kickSet: number;
  readonly one: number;
  readonly noTime: number;
  /** In the head. */
  readonly machineAsleep: number;
  readonly count: number;
  readonly processId: number;
}

export const TURNS = { machine: 0, guest: 1, end: 2 } as const;

const SYSCALL = { write: 1, ioctl: 16, schedYield: 24, rtSigtimedwait: 128, gettid: 186, futex: 202, tgkill: 234 };
const FUTEX_WAIT_PRIVATE = 128;
const [EINTR, EAGAIN] = [4, 11];
/** Looks at the turn, with a PAUSE between two, before the thread sleeps: some 20 µs. */
const SPINS = 500;
const KERNEL_SET_BYTES = 8;
/** Of the run page: KVM_RUN comes back at once. */
const IMMEDIATE_EXIT = 1;

type Part = readonly number[] | { readonly label: string } | { readonly jump: readonly number[]; readonly to: string };
const [JE, JNE, JG, JMP] = [[0x0f, 0x84], [0x0f, 0x85], [0x0f, 0x8f], [0xe9]];
const label = (name: string): Part => ({ label: name });
const jump = (opcode: readonly number[], to: string): Part => ({ jump: opcode, to });
const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);
const moveEax = (value: number) => [0xb8, ...dword(value)];
const systemCall = (number: number) => [...moveEax(number), 0x0f, 0x05];
/** ModRM for [rbx + offset] and a register's number. */
const atRbx = (register: number, offset: number) => [0x83 | (register << 3), ...dword(offset)];

/** `run(line)`: the thread's whole life. */
export function vcpuThreadCode(at: ThreadLayout, kvmRun: number): Uint8Array<ArrayBuffer> {
  return assemble([
    [0x53, 0x48, 0x89, 0xfb], // push rbx; mov rbx, rdi
    [...systemCall(SYSCALL.gettid), 0x89, ...atRbx(0, at.threadId)], // mov [rbx + threadId], eax
    label('await'),
    [0xb9, ...dword(SPINS)], // mov ecx, SPINS
    label('look'),
    [0x8b, ...atRbx(0, at.turn), 0x85, 0xc0], // mov eax, [rbx + turn]; test eax, eax
    jump(JNE, 'mine'),
    [0xf3, 0x90, 0xff, 0xc9], // pause; dec ecx
    jump(JNE, 'look'),
    label('sleep'),
    [...moveEax(1), 0x87, ...atRbx(0, at.asleep)], // xchg [rbx + asleep], eax
    [0x48, 0x8d, ...atRbx(7, at.turn)], // lea rdi, [rbx + turn]
    [0xbe, ...dword(FUTEX_WAIT_PRIVATE)], // mov esi
    [0x31, 0xd2, 0x45, 0x31, 0xd2], // xor edx, edx (TURNS.machine); xor r10d, r10d
    systemCall(SYSCALL.futex),
    [0x31, 0xc0, 0x87, ...atRbx(0, at.asleep)], // xor eax, eax; xchg [rbx + asleep], eax
    [0x8b, ...atRbx(0, at.turn), 0x85, 0xc0],
    jump(JE, 'sleep'),
    label('mine'),
    [0x83, 0xf8, TURNS.end], // cmp eax, end
    jump(JE, 'end'),
    label('enter'),
    [0x8b, ...atRbx(7, at.vcpuFd)], // mov edi, [rbx + vcpuFd]
    [0xbe, ...dword(kvmRun), 0x31, 0xd2], // mov esi, KVM_RUN; xor edx, edx
    systemCall(SYSCALL.ioctl),
    [0x83, 0xf8, -EINTR & 0xff], // cmp eax, -EINTR
    jump(JE, 'fetched'),
    [0x83, 0xf8, -EAGAIN & 0xff], // of a CPU that was started
    jump(JE, 'fetched'),
    label('report'),
    [0x89, ...atRbx(0, at.result)], // mov [rbx + result], eax
    [0x31, 0xc0, 0x87, ...atRbx(0, at.turn)], // xor eax, eax; xchg [rbx + turn], eax
    [0x48, 0x8b, ...atRbx(1, at.headAddress)], // mov rcx, [rbx + headAddress]
    [0x83, 0xb9, ...dword(at.machineAsleep), 0], // cmp dword [rcx + machineAsleep], 0
    jump(JE, 'await'),
    [0x8b, ...atRbx(7, at.doorbellFd)], // mov edi, [rbx + doorbellFd]
    [0x48, 0x8d, ...atRbx(6, at.one), 0xba, ...dword(8)], // lea rsi, [rbx + one]; mov edx, 8
    systemCall(SYSCALL.write),
    jump(JMP, 'await'),
    // A pending kick is taken, so that the next KVM_RUN does not end at once.
    label('fetched'),
    [0x48, 0x8b, ...atRbx(1, at.runPage), 0xc6, 0x41, IMMEDIATE_EXIT, 0], // mov rcx, [rbx + runPage]; mov byte [rcx + 1], 0
    label('take'),
    [0x48, 0x8d, ...atRbx(7, at.kickSet), 0x31, 0xf6], // lea rdi, [rbx + kickSet]; xor esi, esi
    [0x48, 0x8d, ...atRbx(2, at.noTime)], // lea rdx, [rbx + noTime]
    [0x41, 0xba, ...dword(KERNEL_SET_BYTES)], // mov r10d
    systemCall(SYSCALL.rtSigtimedwait),
    [0x85, 0xc0], // test eax, eax
    jump(JG, 'take'),
    [...moveEax(-EINTR), 0x83, ...atRbx(7, at.attention), 0], // cmp dword [rbx + attention], 0
    jump(JNE, 'report'),
    jump(JMP, 'enter'),
    label('end'),
    [0x31, 0xc0, 0x5b, 0xc3], // xor eax, eax; pop rbx; ret
  ]);
}

/** `fetch(head)`: returns when no thread is in the guest, and none goes there any more. */
export function fetchAllCode(at: ThreadLayout, kickSignal: number): Uint8Array<ArrayBuffer> {
  return assemble([
    [0x53, 0x41, 0x54, 0x41, 0x55], // push rbx; push r12; push r13
    [0x48, 0x89, 0xfb, 0x49, 0x89, 0xfc], // mov rbx, rdi; mov r12, rdi
    [0x44, 0x8b, 0xaf, ...dword(at.count)], // mov r13d, [rdi + count]
    label('line'),
    [0x48, 0x81, 0xc3, ...dword(at.lineBytes)], // add rbx, lineBytes
    [...moveEax(1), 0x87, ...atRbx(0, at.attention)], // xchg [rbx + attention], eax
    label('again'),
    [0x83, ...atRbx(7, at.turn), TURNS.guest], // cmp dword [rbx + turn], guest
    jump(JNE, 'next'),
    [0x48, 0x8b, ...atRbx(1, at.runPage), 0xc6, 0x41, IMMEDIATE_EXIT, 1],
    [0x41, 0x8b, 0xbc, 0x24, ...dword(at.processId)], // mov edi, [r12 + processId]
    [0x8b, ...atRbx(6, at.threadId), 0xba, ...dword(kickSignal)], // mov esi, [rbx + threadId]; mov edx
    systemCall(SYSCALL.tgkill),
    systemCall(SYSCALL.schedYield),
    jump(JMP, 'again'),
    label('next'),
    [0x41, 0xff, 0xcd], // dec r13d
    jump(JNE, 'line'),
    [0x41, 0x5d, 0x41, 0x5c, 0x5b, 0xc3], // pop r13; pop r12; pop rbx; ret
  ]);
}

/** Bytes in a row; jumps have the distances to their labels in four bytes. */
function assemble(parts: readonly Part[]): Uint8Array<ArrayBuffer> {
  const sizeOf = (part: Part) => ('label' in part ? 0 : 'jump' in part ? part.jump.length + 4 : part.length);
  const labels = new Map<string, number>();
  let size = 0;
  for (const part of parts) {
    if ('label' in part) labels.set(part.label, size);
    size += sizeOf(part);
  }
  const bytes: number[] = [];
  for (const part of parts) {
    if ('label' in part) continue;
    if (!('jump' in part)) bytes.push(...part);
    else bytes.push(...part.jump, ...dword((labels.get(part.to) ?? 0) - (bytes.length + sizeOf(part))));
  }
  return Uint8Array.from(bytes);
}

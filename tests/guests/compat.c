// A 32-bit program without a library, for the CPU's compatibility mode: x87 arithmetic, segments, old system calls.
// Built with -m32 -nostdlib; prints what it must print on every processor.
typedef unsigned int u32;
typedef unsigned long long u64;

static int call(int number, int a, int b, int c) {
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
  return result;
}

enum { SYS_exit = 1, SYS_fork = 2, SYS_write = 4, SYS_waitpid = 7, SYS_getpid = 20, SYS_kill = 37, SYS_sigaction = 67 };

static void print(const char *text) {
  int length = 0;
  while (text[length]) length++;
  call(SYS_write, 1, (int)text, length);
}

static void print_hex(const char *name, u64 value) {
  char text[] = " 0000000000000000\n";
  for (int i = 16; i > 0; i--, value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  print(name);
  print(text);
}

static u32 state = 12345;

static u32 next_random(void) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

static u32 hash = 2166136261u;

static void add_to_hash(const void *bytes, int size) {
  for (int i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)bytes)[i]) * 16777619u;
}

// Arguments and results in memory: an inlined copy would keep 80 bits where another keeps 64.
static void floats(void) {
  for (int i = 0; i < 5000; i++) {
    volatile float f = (float)(int)next_random();
    volatile double d = (double)next_random() / 7, sum = f + d, product = f * d, quotient = f / (d + 1), root;
    volatile long double l = (long double)next_random() * next_random() / 3;
    __asm__("fldl %1; fsqrt; fstpl %0" : "=m"(root) : "m"(d));
    add_to_hash((void *)&sum, 8), add_to_hash((void *)&product, 8), add_to_hash((void *)&quotient, 8);
    add_to_hash((void *)&root, 8), add_to_hash((void *)&l, 10);
    volatile int integer = (int)(quotient * 100);
    add_to_hash((void *)&integer, 4);
  }
  print_hex("x87", hash);
}

static void integers(void) {
  u64 sum = 0;
  for (int i = 0; i < 20000; i++) {
    u32 a = next_random(), b = next_random() | 1;
    u64 wide = (u64)a * b + sum;
    u32 quotient, remainder;
    __asm__("divl %4" : "=a"(quotient), "=d"(remainder) : "a"((u32)wide), "d"((u32)(wide >> 32) % b), "r"(b) : "cc");
    sum += quotient ^ ((u64)remainder << 21) ^ (wide >> (a & 31)) ^ (u64)((int)a >> (b & 31));
    unsigned char carries;
    __asm__("addl %2, %1; adcl $0, %1; daa; setc %0" : "=q"(carries), "+a"(a) : "r"(b) : "cc");
    sum += a + carries;
  }
  print_hex("integers", sum);
}

// Instructions that 64-bit mode does not have.
static void old_instructions(void) {
  u32 registers[8], bounds[2] = {5, 10}, ascii;
  __asm__ volatile("movl $7, %%ebx; pusha; movl %%esp, %%esi; movl 16(%%esi), %%eax; movl %%eax, (%0); popa"
                   : : "D"(registers) : "eax", "ebx", "esi", "memory");
  __asm__ volatile("bound %0, %1" : : "r"(7), "m"(bounds));
  __asm__("movl $0x0309, %%eax; cmpb $10, %%al; aaa; addb $8, %%al; aam; aad; subb $0x17, %%al; das" : "=a"(ascii) : : "cc");
  print_hex("old", (u64)registers[0] << 32 | ascii);
  unsigned short cs, ss;
  __asm__("movw %%cs, %0; movw %%ss, %1" : "=r"(cs), "=r"(ss));
  print_hex("segments", (u64)(cs & 3) << 8 | (ss & 3));
  // A far call to the next instruction and a far return: the same code segment, the old stack.
  static u32 far;
  __asm__ volatile("pushl %%cs; call 1f; jmp 2f; 1: movl $1, %0; lret; 2:" : "+m"(far) : : "memory");
  print_hex("far", far);
}

static volatile int handled;

static void on_signal(int signal) { handled = handled * 16 + signal; }

static void signals(void) {
  const struct { void (*handler)(int); u32 mask, flags; void *restorer; } action = {on_signal, 0, 0, 0};
  call(SYS_sigaction, 10, (int)&action, 0);
  call(SYS_sigaction, 12, (int)&action, 0);
  const int pid = call(SYS_getpid, 0, 0, 0);
  call(SYS_kill, pid, 10, 0);
  call(SYS_kill, pid, 12, 0);
  print_hex("signals", (u32)handled);
  int status = 0;
  const int child = call(SYS_fork, 0, 0, 0);
  if (child == 0) call(SYS_exit, 33, 0, 0);
  call(SYS_waitpid, child, (int)&status, 0);
  print_hex("child", (u32)status);
}

__attribute__((force_align_arg_pointer)) void _start(void) {
  floats();
  integers();
  old_instructions();
  signals();
  call(SYS_exit, 0, 0, 0);
  for (;;);
}

// A program for a static glibc: what it prints on a real processor it must print in a guest.
// It prints nothing that depends on the processor's model, on addresses or on time.
#define _GNU_SOURCE
#include <fenv.h>
#include <float.h>
#include <immintrin.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

// --- Floating point.

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static double random_double(void) {
  uint64_t bits = next_random();
  double value;
  memcpy(&value, &bits, sizeof value);
  return isnan(value) ? 1.5 : value;
}

static uint64_t hash = 14695981039346656037u;

static void hash_bytes(const void *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
}

// The sign and payload of a NaN depend on the order in which a compiler takes the operands.
static void hash_double(double value) {
  if (isnan(value)) value = NAN;
  hash_bytes(&value, sizeof value);
}

static void hash_long_double(long double value) {
  if (isnan(value)) value = NAN;
  hash_bytes(&value, 10);
}

static void print_hash(const char *name) {
  printf("%s %016" PRIx64 "\n", name, hash);
  hash = 14695981039346656037u;
}

static const struct { int mode; const char *name; } ROUNDINGS[] = {
  {FE_TONEAREST, "nearest"}, {FE_DOWNWARD, "down"}, {FE_UPWARD, "up"}, {FE_TOWARDZERO, "zero"}};

static void arithmetic(void) {
  for (int r = 0; r < 4; r++) {
    fesetround(ROUNDINGS[r].mode);
    for (int i = 0; i < 20000; i++) {
      volatile double a = random_double(), b = random_double();
      volatile float f = (float)a, g = (float)b;
      feclearexcept(FE_ALL_EXCEPT);
      hash_double(a + b), hash_double(a - b), hash_double(a * b), hash_double(a / b), hash_double(sqrt(fabs(a)));
      hash_double(f + g), hash_double(f * g), hash_double(f / g), hash_double(sqrtf(fabsf(f)));
      hash_double(rint(a)), hash_double(fma(a, b, 1.0)), hash_double(a < b ? 1 : a > b ? 2 : 3);
      int64_t integer = fabs(a) < 9e18 ? (int64_t)a : 0;
      int32_t small = fabs(b) < 2e9 ? (int32_t)lrint(b) : 0;
      hash_bytes(&integer, 8), hash_bytes(&small, 4);
      int raised = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
      hash_bytes(&raised, sizeof raised);
      volatile uint64_t u = next_random();
      hash_double((double)u), hash_double((double)(int64_t)u), hash_double((float)(uint32_t)u);
    }
    printf("double, round to %s: ", ROUNDINGS[r].name);
    print_hash("hash");
  }
  fesetround(FE_TONEAREST);
}

static void long_arithmetic(void) {
  for (int r = 0; r < 4; r++) {
    fesetround(ROUNDINGS[r].mode);
    for (int i = 0; i < 20000; i++) {
      volatile long double a = random_double(), b = (long double)next_random() * random_double();
      feclearexcept(FE_ALL_EXCEPT);
      hash_long_double(a + b), hash_long_double(a - b), hash_long_double(a * b), hash_long_double(a / b);
      hash_long_double(sqrtl(fabsl(a))), hash_long_double(rintl(b)), hash_double((double)b), hash_double((float)a);
      hash_long_double(scalbnl(a, (int)(next_random() % 1000) - 500)), hash_long_double(logbl(a));
      int64_t integer = fabsl(b) < 9e18L ? llrintl(b) : 0;
      hash_bytes(&integer, 8);
      int raised = fetestexcept(FE_ALL_EXCEPT), compared = (a < b) + 2 * (a == b);
      hash_bytes(&raised, sizeof raised), hash_bytes(&compared, sizeof compared);
    }
    printf("long double, round to %s: ", ROUNDINGS[r].name);
    print_hash("hash");
  }
  fesetround(FE_TONEAREST);
  for (int i = 0; i < 3000; i++) hash_long_double(fmodl(random_double(), (long double)(next_random() >> 20)));
  print_hash("fmodl");
}

static void functions(void) {
  for (double x = -2.6; x < 3; x += 0.7) {
    printf("%.13g %.13g %.13g %.13g %.13g %.13g\n", sin(x), cos(x), tan(x), atan(x), exp(x), cbrt(x));
    printf("%.13g %.13g %.13g %.13g\n", log(fabs(x)), pow(fabs(x), 2.3), erf(x), tgamma(fabs(x)));
    long double y = x;
    printf("%.17Lg %.17Lg %.17Lg %.17Lg\n", sinl(y), cosl(y), tanl(y), atan2l(y, 2));
    printf("%.17Lg %.17Lg %.17Lg %.17Lg\n", expl(y), logl(fabsl(y)), powl(fabsl(y), 2.3L), expm1l(y));
    printf("%.17Lg %.17Lg %.17Lg %.17Lg\n", log1pl(fabsl(y)), log2l(fabsl(y)), asinl(y / 3), sinhl(y));
  }
}

static void printing(void) {
  const double values[] = {0.1, 1 / 3.0, 1e23, DBL_MAX, DBL_MIN, 5e-324, -0.0, 123456.789, INFINITY, 2.5, 3.5};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    char text[64];
    snprintf(text, sizeof text, "%.17g", values[i]);
    printf("%s %a %.0f %g %e %d\n", text, values[i], fabs(values[i]) < 1e30 ? values[i] : 0, values[i], values[i],
           strtod(text, NULL) == values[i]);
  }
  const long double longs[] = {0.1L, 1 / 3.0L, LDBL_MAX, LDBL_MIN, LDBL_TRUE_MIN, 1e4000L, M_PIl};
  for (size_t i = 0; i < sizeof longs / sizeof longs[0]; i++) {
    char text[64];
    snprintf(text, sizeof text, "%.21Lg", longs[i]);
    printf("%s %La %d\n", text, longs[i], strtold(text, NULL) == longs[i]);
  }
  for (int i = 0; i < 3000; i++) {
    char text[64];
    double value = random_double();
    snprintf(text, sizeof text, "%.17g", value);
    hash_bytes(text, strlen(text));
    if (strtod(text, NULL) != value) printf("%s does not come back\n", text);
  }
  print_hash("printed");
}

static void integers(void) {
  for (int i = 0; i < 50000; i++) {
    volatile uint64_t a = next_random(), b = next_random() >> (next_random() & 63);
    if (b == 0) continue;
    unsigned __int128 product = (unsigned __int128)a * b;
    unsigned __int128 quotient = (product + a) / ((unsigned __int128)b << (a & 15));
    int64_t parts[] = {(int64_t)a / (int64_t)(b | 2), (int64_t)a % (int64_t)(b | 2), __builtin_popcountll(a),
                       __builtin_clzll(b), __builtin_ctzll(b), (int64_t)__builtin_bswap64(a), (int64_t)a >> (b & 63),
                       (int32_t)a / (int16_t)((b & 0x7ff) + 1), (uint8_t)a * (int8_t)b, (uint32_t)a << (b & 31)};
    hash_bytes(&product, sizeof product), hash_bytes(&quotient, sizeof quotient), hash_bytes(parts, sizeof parts);
  }
  print_hash("integers");
}

// --- Jumps and signals.

static sigjmp_buf escape;
static volatile siginfo_t last;
static volatile int count;

static void on_fault(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  memcpy((void *)&last, info, sizeof last);
  siglongjmp(escape, 1);
}

static void on_count(int signal) {
  (void)signal;
  count++;
}

static void install(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
  sigaction(signal, &action, NULL);
}

static volatile int zero, int_min = INT32_MIN, minus_one = -1;
static char *volatile page;

static void fault_null(void) { *(volatile int *)(uintptr_t)(zero + 16) = 1; }
static void fault_read_only(void) { page[5] = 1; }
static void fault_not_executable(void) { ((void (*)(void))(page + 64))(); }
static void fault_non_canonical(void) { *(volatile char *)0x8000000000000000u; }
static void fault_divide(void) { zero = minus_one / (zero & 2); }
static void fault_divide_overflow(void) { zero = int_min / minus_one; }
static void fault_undefined(void) { __asm__ volatile("ud2"); }
static void fault_privileged(void) { __asm__ volatile("hlt"); }
static void fault_port(void) { __asm__ volatile("outb %al, $0x80"); }
static void fault_breakpoint(void) { __asm__ volatile("int3"); }
static void fault_gate(void) { __asm__ volatile("int $0x20"); }
static void fault_segment(void) { __asm__ volatile("movw %0, %%ds" : : "r"((unsigned short)0x1234)); }
static void fault_alignment(void) { __asm__ volatile("movaps 1(%0), %%xmm0" : : "r"(page) : "xmm0"); }
static void fault_step(void) { __asm__ volatile("pushfq; orl $0x100, (%rsp); popfq; nop; nop"); }

static void fault_sse(void) {
  volatile double x = zero;
  feenableexcept(FE_DIVBYZERO);
  x = 1 / x;
}

static void fault_x87(void) {
  volatile long double x = zero;
  feenableexcept(FE_DIVBYZERO);
  x = 1 / x;
  __asm__ volatile("fwait");
}

static void faults(void) {
  static const struct { const char *name; void (*run)(void); int address; } FAULTS[] = {
    {"null", fault_null, 1}, {"read-only", fault_read_only, 2}, {"not executable", fault_not_executable, 2},
    {"not canonical", fault_non_canonical, 1}, {"divide", fault_divide, 0}, {"divide overflow", fault_divide_overflow, 0},
    {"undefined", fault_undefined, 0}, {"privileged", fault_privileged, 0}, {"port", fault_port, 0},
    {"breakpoint", fault_breakpoint, 0}, {"gate", fault_gate, 0}, {"segment", fault_segment, 0},
    {"alignment", fault_alignment, 0}, {"step", fault_step, 0}, {"SSE", fault_sse, 0}, {"x87", fault_x87, 0}};
  page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  for (int i = 0; i < 5; i++) install(signals[i], on_fault, 0);
  for (volatile size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++) {
    if (sigsetjmp(escape, 1) == 0) {
      FAULTS[i].run();
      printf("%s: nothing\n", FAULTS[i].name);
    } else {
      printf("%s: signal %d code %d", FAULTS[i].name, last.si_signo, last.si_code);
      if (FAULTS[i].address == 1) printf(" at %p", last.si_addr);
      if (FAULTS[i].address == 2) printf(" at page + %td", (char *)last.si_addr - page);
      printf("\n");
    }
    fedisableexcept(FE_ALL_EXCEPT);
    feclearexcept(FE_ALL_EXCEPT);
  }
  for (int i = 0; i < 5; i++) signal(signals[i], SIG_DFL);
}

static jmp_buf nested;

static void deep(int level) {
  if (level > 0) deep(level - 1);
  if (level == zero) longjmp(nested, 42);
}

static ucontext_t main_context, other_context;

static void coroutine(void) {
  for (int i = 0; i < 3; i++) {
    printf("coroutine %d\n", i);
    swapcontext(&other_context, &main_context);
  }
}

static void on_alternate(int signal, siginfo_t *info, void *context) {
  (void)info;
  static volatile double x = 3;
  x = sqrt(x * x + 16) * 1.25L;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  if (signal == SIGUSR2) registers[REG_R12] = 77;
  count++;
}

static void jumps_and_signals(void) {
  volatile int before = 5;
  int value = setjmp(nested);
  if (value == 0) before = 6, deep(1000);
  printf("longjmp %d %d\n", value, before);

  static char stack[65536], alternate[65536];
  getcontext(&other_context);
  other_context.uc_stack.ss_sp = stack, other_context.uc_stack.ss_size = sizeof stack;
  other_context.uc_link = &main_context;
  makecontext(&other_context, coroutine, 0);
  for (int i = 0; i < 4; i++) swapcontext(&main_context, &other_context);

  signal(SIGUSR1, on_count);
  for (int i = 0; i < 2000; i++) raise(SIGUSR1);
  printf("raised %d\n", count);
  count = 0;
  stack_t other = {.ss_sp = alternate, .ss_size = sizeof alternate};
  sigaltstack(&other, NULL);
  install(SIGUSR2, on_alternate, SA_ONSTACK);
  long double sum = 0;
  register long r12 __asm__("r12") = 1;
  for (int i = 1; i < 500; i++) {
    sum += 1.0L / i;
    __asm__ volatile("syscall" : : "a"(62), "D"((long)getpid()), "S"(SIGUSR2) : "rcx", "r11", "memory");
    __asm__ volatile("" : "+r"(r12));
  }
  printf("handled %d, sum %.18Lg, r12 %ld\n", count, sum, r12);

  count = 0;
  signal(SIGALRM, on_count);
  struct itimerval timer = {{0, 5000}, {0, 5000}};
  setitimer(ITIMER_REAL, &timer, NULL);
  volatile double work = 0;
  for (int i = 0; count < 20; i++) work += sin(i);
  timer = (struct itimerval){0};
  setitimer(ITIMER_REAL, &timer, NULL);
  printf("alarms %s\n", count >= 20 ? "came" : "did not come");

  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 3);
  sigprocmask(SIG_BLOCK, &set, NULL);
  for (int i = 0; i < 5; i++) sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i * i});
  for (int i = 0; i < 5; i++) {
    siginfo_t info;
    sigwaitinfo(&set, &info);
    printf("queued %d code %d\n", info.si_value.sival_int, info.si_code);
  }
}

// --- Threads and memory.

enum { THREADS = 8, ROUNDS = 4000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static long guarded, atomic, turn;
static __thread double own;

static void *thread_main(void *argument) {
  long id = (long)argument;
  own = id;
  for (int i = 0; i < ROUNDS; i++) {
    pthread_mutex_lock(&mutex);
    guarded += id;
    pthread_mutex_unlock(&mutex);
    __atomic_add_fetch(&atomic, id, __ATOMIC_SEQ_CST);
    own = own * 0.5 + id;
    if (i % 500 == 0) sched_yield();
  }
  for (int i = 0; i < 50; i++) {
    pthread_mutex_lock(&mutex);
    while (turn % THREADS != id) pthread_cond_wait(&turned, &mutex);
    turn++;
    pthread_cond_broadcast(&turned);
    pthread_mutex_unlock(&mutex);
  }
  double *result = malloc(sizeof *result);
  *result = own;
  return result;
}

static void threads(void) {
  pthread_t all[THREADS];
  double total = 0;
  for (long i = 0; i < THREADS; i++) pthread_create(&all[i], NULL, thread_main, (void *)i);
  for (int i = 0; i < THREADS; i++) {
    void *result;
    pthread_join(all[i], &result);
    total += *(double *)result;
    free(result);
  }
  printf("threads %ld %ld %ld %.10f\n", guarded, atomic, turn, total);
}

// Code that a program writes while it runs: each version must be the one that runs.
static void written_code(void) {
  unsigned char *code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int (*run)(void) = (int (*)(void))(code + 4093);
  long sum = 0;
  for (int i = 0; i < 3000; i++) {
    const unsigned char program[] = {0xb8, i & 0xff, i >> 8, 0, 0, 0xc3}; // mov eax, i; ret across two pages
    memcpy(code + 4093, program, sizeof program);
    sum += run();
  }
  // An instruction that changes the one after it: movb $2, 1(%rip); mov $1, %eax; ret.
  const unsigned char self[] = {0xc6, 0x05, 1, 0, 0, 0, 2, 0xb8, 1, 0, 0, 0, 0xc3};
  memcpy(code, self, sizeof self);
  printf("written code %ld %d\n", sum, ((int (*)(void))code)());
  mprotect(code, 8192, PROT_READ | PROT_EXEC);
  printf("again %d\n", run());
}

static void processes(void) {
  int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int *copied = malloc(1 << 20);
  for (int i = 0; i < 1 << 18; i++) copied[i] = i;
  fflush(stdout);
  for (int child = 0; child < 10; child++) {
    if (fork() == 0) {
      long sum = 0;
      for (int i = 0; i < 1 << 18; i += 7) copied[i] += child, sum += copied[i];
      __atomic_add_fetch(shared, (int)(sum % 1000003), __ATOMIC_SEQ_CST);
      _exit(child);
    }
  }
  int codes = 0, status;
  while (wait(&status) > 0) codes += WEXITSTATUS(status);
  long sum = 0;
  for (int i = 0; i < 1 << 18; i++) sum += copied[i];
  printf("processes %d %d %ld\n", codes, *shared, sum);

  char *region = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (size_t i = 0; i < 64 << 20; i += 4096) region[i] = (char)(i >> 12);
  long pages = 0;
  for (size_t i = 0; i < 64 << 20; i += 4096) pages += region[i];
  munmap(region, 64 << 20);
  printf("pages %ld\n", pages);
}

static void clocks(void) {
  struct timespec before, after, pause = {0, 20000000};
  clock_gettime(CLOCK_MONOTONIC, &before);
  int backwards = 0;
  for (int i = 0; i < 20000; i++) {
    clock_gettime(CLOCK_MONOTONIC, &after);
    if (after.tv_sec < before.tv_sec || (after.tv_sec == before.tv_sec && after.tv_nsec < before.tv_nsec)) backwards++;
    before = after;
  }
  nanosleep(&pause, NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  long nanos = (after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec;
  printf("clock: %d times backwards, slept %s\n", backwards, nanos >= 20000000 ? "long enough" : "too short");
}

// --- Vectors, where the processor has them.

__attribute__((target("avx2,fma"))) static int vectors_agree(void) {
  float a[64], b[64], c[64];
  int d[64], e[64];
  for (int i = 0; i < 64; i++) {
    a[i] = (float)(next_random() % 10000) / 64, b[i] = (float)(next_random() % 10000) / 32;
    d[i] = (int)next_random(), e[i] = (int)next_random();
  }
  int wrong = 0;
  for (int i = 0; i < 64; i += 8) {
    __m256 x = _mm256_loadu_ps(a + i), y = _mm256_loadu_ps(b + i);
    _mm256_storeu_ps(c + i, _mm256_fmadd_ps(x, y, _mm256_sqrt_ps(x)));
    for (int j = i; j < i + 8; j++) wrong += c[j] != fmaf(a[j], b[j], sqrtf(a[j]));
    __m256i u = _mm256_loadu_si256((__m256i *)(d + i)), v = _mm256_loadu_si256((__m256i *)(e + i));
    int sums[8], products[8], shifted[8], gathered[8], permuted[8];
    __m256i index = _mm256_and_si256(u, _mm256_set1_epi32(63));
    _mm256_storeu_si256((__m256i *)sums, _mm256_add_epi32(u, v));
    _mm256_storeu_si256((__m256i *)products, _mm256_mullo_epi32(u, v));
    _mm256_storeu_si256((__m256i *)shifted, _mm256_sllv_epi32(u, _mm256_srli_epi32(v, 27)));
    _mm256_storeu_si256((__m256i *)gathered, _mm256_i32gather_epi32(e, index, 4));
    _mm256_storeu_si256((__m256i *)permuted, _mm256_permutevar8x32_epi32(u, v));
    for (int j = 0; j < 8; j++) {
      wrong += sums[j] != (int)((unsigned)d[i + j] + (unsigned)e[i + j]);
      wrong += products[j] != (int)((unsigned)d[i + j] * (unsigned)e[i + j]);
      wrong += shifted[j] != (int)((unsigned)d[i + j] << ((unsigned)e[i + j] >> 27));
      wrong += gathered[j] != e[d[i + j] & 63];
      wrong += permuted[j] != d[i + (e[i + j] & 7)];
    }
  }
  return wrong;
}

__attribute__((target("bmi,bmi2"))) static int bits_agree(void) {
  int wrong = 0;
  for (int i = 0; i < 1000; i++) {
    uint64_t value = next_random(), mask = next_random(), packed = 0, spread = 0;
    for (int bit = 0, n = 0; bit < 64; bit++) {
      if (!(mask >> bit & 1)) continue;
      packed |= (value >> bit & 1) << n;
      spread |= (value >> n++ & 1) << bit;
    }
    wrong += _pext_u64(value, mask) != packed || _pdep_u64(value, mask) != spread;
    wrong += _andn_u64(value, mask) != (~value & mask) || _blsr_u64(value) != (value & (value - 1));
  }
  return wrong;
}

// The upper halves of YMM registers live through signals and other threads.
__attribute__((target("avx"))) static int upper_halves_stay(void) {
  const double in[4] = {1.5, -2.5, 3.25, -4.125};
  double out[4];
  __m256d kept = _mm256_loadu_pd(in);
  for (int i = 0; i < 200; i++) {
    __asm__ volatile("" : "+x"(kept));
    __asm__ volatile("syscall" : : "a"(24) : "rcx", "r11", "memory"); // sched_yield
    __asm__ volatile("syscall" : : "a"(62), "D"((long)getpid()), "S"(SIGUSR2) : "rcx", "r11", "memory");
  }
  __asm__ volatile("" : "+x"(kept));
  _mm256_storeu_pd(out, kept);
  return memcmp(in, out, sizeof in) == 0;
}

static int vectors(int required) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2")) {
    if (required) printf("this processor has no AVX2, FMA or BMI2\n");
    return required;
  }
  const int wrong = vectors_agree() + bits_agree(), stay = upper_halves_stay();
  if (wrong || !stay) printf("AVX: %d wrong, upper halves %s\n", wrong, stay ? "stay" : "are lost");
  return wrong || !stay;
}

// With the argument "vectors" it is an error when the processor has none.
int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  arithmetic();
  long_arithmetic();
  functions();
  printing();
  integers();
  faults();
  jumps_and_signals();
  threads();
  written_code();
  processes();
  clocks();
  return vectors(argc > 1 && strcmp(argv[1], "vectors") == 0);
}

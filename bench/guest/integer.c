/* Integer kernels: plain loops, tables, hashing, sorting, dependent loads, calls, dispatch. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

/* --- sieve: primes below `size`, as bytes. */

static void *sieve_prepare(long size) { return allocate((size_t)size); }

static uint64_t sieve_run(void *prepared, long size) {
  unsigned char *composite = prepared;
  uint64_t sum = 0;
  memset(composite, 0, (size_t)size);
  for (long i = 2; i < size; i++) {
    if (composite[i]) continue;
    sum += (uint64_t)i;
    for (long j = i * 2; j < size; j += i) composite[j] = 1;
  }
  return sum;
}

/* --- sha256: FIPS 180-4 over `size` KiB. */

static const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int count) { return x >> count | x << (32 - count); }

static void sha256_block(uint32_t hash[8], const unsigned char *block) {
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++) {
    uint32_t word;
    memcpy(&word, block + 4 * i, 4);
    w[i] = __builtin_bswap32(word);
  }
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
  }
  memcpy(s, hash, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
                  sha256_constants[i] + w[i];
    uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                  ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    for (int j = 7; j > 0; j--) s[j] = s[j - 1];
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) hash[i] += s[i];
}

static void *sha256_prepare(long size) {
  unsigned char *data = allocate((size_t)size * 1024);
  uint64_t seed = 1;
  for (long i = 0; i < size * 1024; i++) data[i] = (unsigned char)(next_random(&seed) >> 56);
  return data;
}

static uint64_t sha256_run(void *prepared, long size) {
  uint32_t hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (long at = 0; at < size * 1024; at += 64) sha256_block(hash, (unsigned char *)prepared + at);
  return hash_bytes(hash, sizeof hash);
}

/* --- qsort: the C library's, `size` numbers. */

static void *numbers_prepare(long size) {
  uint32_t *numbers = allocate((size_t)size * sizeof *numbers);
  uint64_t seed = 2;
  for (long i = 0; i < size; i++) numbers[i] = (uint32_t)(next_random(&seed) >> 32);
  return numbers;
}

static int compare_numbers(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static uint64_t qsort_run(void *prepared, long size) {
  qsort(prepared, (size_t)size, sizeof(uint32_t), compare_numbers);
  return hash_bytes(prepared, (size_t)size * sizeof(uint32_t));
}

/* --- chase: `size` dependent loads around one cycle of 8 MiB. */

#define CHASE_NODES (1l << 20)

static void *chase_prepare(long size) {
  (void)size;
  void **nodes = allocate(CHASE_NODES * sizeof *nodes);
  uint32_t *order = allocate(CHASE_NODES * sizeof *order);
  uint64_t seed = 3;
  for (long i = 0; i < CHASE_NODES; i++) order[i] = (uint32_t)i;
  for (long i = CHASE_NODES - 1; i > 0; i--) {
    long j = (long)(next_random(&seed) % (uint64_t)i);
    uint32_t swapped = order[i];
    order[i] = order[j];
    order[j] = swapped;
  }
  for (long i = 0; i < CHASE_NODES; i++) nodes[i] = &nodes[order[i]];
  free(order);
  return nodes;
}

static uint64_t chase_run(void *prepared, long size) {
  void **at = prepared;
  for (long i = 0; i < size; i++) at = *at;
  return (uint64_t)(at - (void **)prepared);
}

/* --- indirect: `size` calls through a table of 16 functions in no pattern. */

#define TARGET(name, expression) \
  static uint64_t __attribute__((noinline)) name(uint64_t x) { return expression; }
TARGET(target_0, x + 1)
TARGET(target_1, x ^ 0x5555)
TARGET(target_2, x * 3)
TARGET(target_3, x - (x >> 7))
TARGET(target_4, ~x)
TARGET(target_5, x << 1 | x >> 63)
TARGET(target_6, x + 0x9e3779b9)
TARGET(target_7, x ^ x >> 3)
TARGET(target_8, x * 5 + 1)
TARGET(target_9, x - 17)
TARGET(target_10, x >> 1 ^ x << 62)
TARGET(target_11, x + (x << 4))
TARGET(target_12, x ^ 0xff00ff)
TARGET(target_13, x * 7)
TARGET(target_14, x + 99)
TARGET(target_15, -x)

static uint64_t (*const targets[16])(uint64_t) = {
    target_0, target_1, target_2,  target_3,  target_4,  target_5,  target_6,  target_7,
    target_8, target_9, target_10, target_11, target_12, target_13, target_14, target_15};

static uint64_t indirect_run(void *prepared, long size) {
  (void)prepared;
  uint64_t x = 1, choice = 4;
  for (long i = 0; i < size; i++) {
    choice = choice * 6364136223846793005ull + 1442695040888963407ull;
    x = targets[choice >> 60](x);
  }
  return x;
}

/* --- calls: Fibonacci's 20th number, the slow way, `size` times. */

static uint64_t __attribute__((noinline, noclone)) fibonacci(long n) {
  return n < 2 ? (uint64_t)n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t calls_run(void *prepared, long size) {
  (void)prepared;
  uint64_t sum = 0;
  for (long i = 0; i < size; i++) sum += fibonacci(20);
  return sum;
}

/* --- bytecode: an interpreter's loop; its program sums the lengths of Collatz sequences from 1 to `size`. */

enum opcode { PUSH, LOAD, STORE, ADD, MULTIPLY, SHIFT_RIGHT, AND, LESS_EQUAL, EQUAL, JUMP, JUMP_IF_ZERO, HALT };

/* Variables: 0 n, 1 x, 2 sum, 3 limit. */
static const int collatz[] = {
    PUSH, 1, STORE, 0,                              /*  0 n = 1 */
    LOAD, 0, LOAD, 3, LESS_EQUAL, JUMP_IF_ZERO, 55, /*  4 while (n <= limit) { */
    LOAD, 0, STORE, 1,                              /* 11   x = n */
    LOAD, 1, PUSH, 1, EQUAL, JUMP_IF_ZERO, 24,      /* 15   while (x != 1) { */
    JUMP, 46,                                       /* 22 */
    LOAD, 2, PUSH, 1, ADD, STORE, 2,                /* 24     sum += 1 */
    LOAD, 1, PUSH, 1, AND, JUMP_IF_ZERO, 56,        /* 31     if (x & 1) */
    LOAD, 1, PUSH, 3, MULTIPLY, JUMP, 65,           /* 38       x = 3 * x + 1; else x = x >> 1 */
    HALT,                                           /* 45 */
    LOAD, 0, PUSH, 1, ADD, STORE, 0,                /* 46   } n += 1 */
    JUMP, 4,                                        /* 53 } */
    HALT,                                           /* 55 */
    LOAD, 1, PUSH, 1, SHIFT_RIGHT, STORE, 1,        /* 56 */
    JUMP, 15,                                       /* 63 */
    PUSH, 1, ADD, STORE, 1,                         /* 65 */
    JUMP, 15,                                       /* 70 */
};

static uint64_t bytecode_run(void *prepared, long size) {
  (void)prepared;
  uint64_t stack[16], variables[4] = {0, 0, 0, (uint64_t)size};
  uint64_t *top = stack;
  const int *program = collatz;
  __asm__("" : "+r"(program)); /* the compiler must not know the program */
  for (const int *at = program;;) {
    switch (*at++) {
      case PUSH: *top++ = (uint64_t)*at++; break;
      case LOAD: *top++ = variables[*at++]; break;
      case STORE: variables[*at++] = *--top; break;
      case ADD: top--; top[-1] += top[0]; break;
      case MULTIPLY: top--; top[-1] *= top[0]; break;
      case SHIFT_RIGHT: top--; top[-1] >>= top[0]; break;
      case AND: top--; top[-1] &= top[0]; break;
      case LESS_EQUAL: top--; top[-1] = top[-1] <= top[0]; break;
      case EQUAL: top--; top[-1] = top[-1] == top[0]; break;
      case JUMP: at = program + *at; break;
      case JUMP_IF_ZERO: at = *--top == 0 ? program + *at : at + 1; break;
      default: return variables[2];
    }
  }
}

const struct kernel integer_kernels[] = {
    {"sieve", sieve_prepare, sieve_run},    {"sha256", sha256_prepare, sha256_run},
    {"qsort", numbers_prepare, qsort_run},  {"chase", chase_prepare, chase_run},
    {"indirect", NULL, indirect_run},       {"calls", NULL, calls_run},
    {"bytecode", NULL, bytecode_run},       {NULL, NULL, NULL}};

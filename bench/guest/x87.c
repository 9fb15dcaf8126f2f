/* The x87 unit: arithmetic in 80 bits, and its transcendental instructions. */
#include <string.h>

#include "bench.h"

/* --- x87-arithmetic: `size` steps of a recurrence with each of + - × ÷ √; exact, so compared bit by bit. */

static uint64_t x87_arithmetic_run(void *prepared, long size) {
  (void)prepared;
  long double x = 0.3L, sum = 0;
  for (long i = 1; i <= size; i++) {
    x = 3.9L * x * (1 - x);
    long double root;
    __asm__("fsqrt" : "=t"(root) : "0"(x + (long double)i));
    sum += root / (x + 1) - (long double)(int)root;
  }
  unsigned char bytes[10];
  memcpy(bytes, &sum, sizeof bytes);
  return hash_bytes(bytes, sizeof bytes);
}

/* --- x87-math: logarithm, power and arctangent; the last bits may differ between CPUs, so the sum is rounded. */

static long double log2_of(long double x) {
  long double result;
  __asm__("fyl2x" : "=t"(result) : "0"(x), "u"(1.0L) : "st(1)");
  return result;
}

static long double power_of_2_less_1(long double x) {
  long double result;
  __asm__("f2xm1" : "=t"(result) : "0"(x));
  return result;
}

static long double arctangent(long double y, long double x) {
  long double result;
  __asm__("fpatan" : "=t"(result) : "0"(x), "u"(y) : "st(1)");
  return result;
}

static uint64_t x87_math_run(void *prepared, long size) {
  (void)prepared;
  long double sum = 0;
  for (long i = 1; i <= size; i++) {
    long double x = (long double)i / (long double)size;
    sum += log2_of(x + 1) + power_of_2_less_1(x / 2) + arctangent(x, 2 - x);
  }
  return (uint64_t)(sum * 1e6L / (long double)size + 0.5L);
}

const struct kernel x87_kernels[] = {{"x87-arithmetic", NULL, x87_arithmetic_run}, {"x87-math", NULL, x87_math_run}, {NULL, NULL, NULL}};

/* Memory and strings: the C library's functions, which choose by CPUID, and the string instructions themselves. */
#include <string.h>

#include "bench.h"

#define BLOCK (1l << 20)

static void *blocks_prepare(long size) {
  (void)size;
  char *blocks = allocate(2 * BLOCK);
  uint64_t seed = 9;
  for (long i = 0; i < 2 * BLOCK; i++) blocks[i] = (char)('a' + next_random(&seed) % 26);
  return blocks;
}

/* Keeps the compiler from leaving out or moving work on memory. */
static void touch(void *memory) { __asm__ volatile("" : : "r"(memory) : "memory"); }

/* --- memcpy: `size` MiB, in pieces of 1 MiB and of 200 bytes. */

static uint64_t memcpy_run(void *prepared, long size) {
  char *from = prepared, *to = from + BLOCK;
  for (long i = 0; i < size; i++) {
    from[i & 0xfff]++;
    if (i & 1) {
      memcpy(to, from, BLOCK);
      touch(to);
      continue;
    }
    for (long at = 0; at + 200 <= BLOCK; at += 200) {
      memcpy(to + at, from + at, 200);
      touch(to);
    }
  }
  return hash_bytes(to, BLOCK);
}

/* --- memset: `size` MiB, in pieces of 1 MiB and of 200 bytes. */

static uint64_t memset_run(void *prepared, long size) {
  char *to = prepared;
  for (long i = 0; i < size; i++) {
    if (i & 1) {
      memset(to, (int)i, BLOCK);
      touch(to);
      continue;
    }
    for (long at = 0; at + 200 <= BLOCK; at += 200) {
      memset(to + at, (int)(i + at), 200);
      touch(to);
    }
  }
  return hash_bytes(to, BLOCK);
}

/* --- search: strlen, strchr, memcmp and strstr over 64 KiB, `size` times. */

static uint64_t search_run(void *prepared, long size) {
  enum { LENGTH = 65536 };
  char *a = prepared, *b = a + BLOCK;
  uint64_t sum = 0;
  a[LENGTH] = 0;
  memcpy(b, a, LENGTH + 1);
  for (long i = 0; i < size; i++) {
    long mark = LENGTH / 2 + i % 1000;
    char kept = a[mark];
    a[mark] = '#';
    touch(a);
    sum += strlen(a) + (uint64_t)(strchr(a, '#') - a) + (uint64_t)(memcmp(a, b, LENGTH) < 0);
    sum += strstr(a, "vireo#") == NULL;
    a[mark] = kept;
    touch(a);
  }
  return sum;
}

/* --- rep: movsb, movsq (movsd in 32 bits), stosd, scasb and cmpsb over 64 KiB, `size` times. */

#ifdef __x86_64__
#define MOVE_LONGS "movsq"
#else
#define MOVE_LONGS "movsl"
#endif

static uint64_t rep_run(void *prepared, long size) {
  enum { LENGTH = 65536 };
  char *a = prepared, *b = a + BLOCK;
  uint64_t sum = 0;
  for (long i = 0; i < size; i++) {
    const void *source = a;
    void *target = b;
    long count = LENGTH;
    __asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(count) : : "memory");
    source = b, target = b + LENGTH, count = LENGTH / (long)sizeof(long);
    __asm__ volatile("rep " MOVE_LONGS : "+S"(source), "+D"(target), "+c"(count) : : "memory");
    target = b + 2 * LENGTH, count = LENGTH / 4;
    __asm__ volatile("rep stosl" : "+D"(target), "+c"(count) : "a"((int)i) : "memory");
    b[LENGTH / 2 + i % 1000] = '#';
    target = b, count = LENGTH;
    __asm__ volatile("repne scasb" : "+D"(target), "+c"(count) : "a"('#') : "memory", "cc");
    sum += (uint64_t)count;
    source = a, target = b, count = LENGTH;
    __asm__ volatile("repe cmpsb" : "+S"(source), "+D"(target), "+c"(count) : : "memory", "cc");
    sum += (uint64_t)count * 3;
  }
  return sum ^ hash_bytes(b, 3 * LENGTH);
}

const struct kernel memory_kernels[] = {{"memcpy", blocks_prepare, memcpy_run},
                                        {"memset", blocks_prepare, memset_run},
                                        {"search", blocks_prepare, search_run},
                                        {"rep", blocks_prepare, rep_run},
                                        {NULL, NULL, NULL}};

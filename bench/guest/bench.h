/* What the benchmark kernels share: a table of them, and a few deterministic numbers. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

/* Builds what a kernel works on, outside its time. */
typedef void *(*prepare_function)(long size);
/* The measured work; its result must be the same on every correct CPU. */
typedef uint64_t (*run_function)(void *prepared, long size);

struct kernel {
  const char *name;
  prepare_function prepare; /* NULL: nothing to prepare */
  run_function run;
};

/* Each file's kernels, ended by one without a name. */
extern const struct kernel integer_kernels[], float_kernels[], x87_kernels[], memory_kernels[], system_kernels[],
    program_kernels[];

/* Ends the process with a message about what failed. */
_Noreturn void fail(const char *what);
/* malloc that ends the process instead of returning NULL. */
void *allocate(size_t bytes);
/* xorshift64*: the next of a fixed sequence; `*state` is not 0. */
uint64_t next_random(uint64_t *state);
/* FNV-1a over bytes. */
uint64_t hash_bytes(const void *bytes, size_t count);

#endif

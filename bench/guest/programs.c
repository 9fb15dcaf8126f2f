/* Real programs: the default guest's gzip and awk, which are busybox's, and Debian's perl, started as a shell starts them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define INPUT "/tmp/bench-input"
#define OUTPUT "/tmp/bench-output"

static const char *const words[] = {"the",   "guest", "kernel", "maps",  "a",     "page", "of",    "memory",
                                    "when",  "its",   "program", "first", "reads", "or",  "writes", "there"};

/* `size` KiB of text on a file system in memory. */
static void *text_prepare(long size) {
  FILE *file = fopen(INPUT, "w");
  if (file == NULL) fail(INPUT);
  uint64_t seed = 5;
  for (long written = 0; written < size * 1024;) {
    uint64_t random = next_random(&seed) >> 32;
    written += fprintf(file, "%s %llu%c", words[random & 15], (unsigned long long)(random >> 4 & 0x3ff),
                       (random & 0x70000) == 0 ? '\n' : ' ');
  }
  if (fclose(file) != 0) fail(INPUT);
  return NULL;
}

/* Runs a program from INPUT to OUTPUT; hashes what it wrote. */
static uint64_t run_program(const char *path, char *const arguments[]) {
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    int input = open(INPUT, O_RDONLY), output = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (input < 0 || output < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0) fail("redirection");
    execv(path, arguments);
    fail(path);
  }
  int status;
  if (waitpid(child, &status, 0) != child || status != 0) fail(arguments[1]);
  FILE *file = fopen(OUTPUT, "r");
  if (file == NULL) fail(OUTPUT);
  uint64_t hash = 0;
  char block[4096];
  for (size_t count; (count = fread(block, 1, sizeof block, file)) > 0;) hash = hash * 31 + hash_bytes(block, count);
  fclose(file);
  return hash;
}

static uint64_t gzip_run(void *prepared, long size) {
  (void)prepared, (void)size;
  return run_program("/bin/busybox", (char *[]){"busybox", "gzip", "-c", NULL});
}

static uint64_t awk_run(void *prepared, long size) {
  (void)prepared, (void)size;
  return run_program("/bin/busybox", (char *[]){
      "busybox", "awk",
      "{ for (i = 1; i < NF; i += 2) { count[$i]++; sum[$i] += $(i + 1) } }"
      "END { for (word in count) total += length(word) * count[word] + sum[word]; print total }",
      NULL});
}

/* Counts words and pairs of words, with a regular expression, hashes and a sort. */
static uint64_t perl_run(void *prepared, long size) {
  (void)prepared, (void)size;
  return run_program("/usr/bin/perl", (char *[]){
      "perl", "-e",
      "while (<STDIN>) { my $last = ''; while (/([a-z]+) ([0-9]+)/g) { $sum{$1} += $2; $pair{\"$last $1\"}++; $last = $1 } }"
      "print join(' ', map { \"$_=$sum{$_}\" } sort keys %sum), \"\\n\";"
      "print join(' ', map { \"$_=$pair{$_}\" } sort { $pair{$b} <=> $pair{$a} || $a cmp $b } keys %pair), \"\\n\";",
      NULL});
}

const struct kernel program_kernels[] = {
    {"gzip", text_prepare, gzip_run}, {"awk", text_prepare, awk_run}, {"perl", text_prepare, perl_run}, {NULL, NULL, NULL}};

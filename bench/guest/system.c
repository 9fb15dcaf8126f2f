/* What goes through the guest's kernel: system calls, processes, page faults, signals, timers. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* --- syscalls: `size` times getppid. */

static uint64_t syscalls_run(void *prepared, long size) {
  (void)prepared;
  long first = syscall(SYS_getppid);
  uint64_t same = 0;
  for (long i = 0; i < size; i++) same += syscall(SYS_getppid) == first;
  return same;
}

/* --- pipe: one byte to another process and back, `size` times. */

static uint64_t pipe_run(void *prepared, long size) {
  (void)prepared;
  int there[2], back[2];
  if (pipe(there) != 0 || pipe(back) != 0) fail("pipe");
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    unsigned char byte;
    for (long i = 0; i < size; i++) {
      if (read(there[0], &byte, 1) != 1) fail("read");
      byte++;
      if (write(back[1], &byte, 1) != 1) fail("write");
    }
    _exit(0);
  }
  uint64_t sum = 0;
  for (long i = 0; i < size; i++) {
    unsigned char byte = (unsigned char)i;
    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) fail("ping-pong");
    sum += byte;
  }
  if (waitpid(child, NULL, 0) != child) fail("waitpid");
  return sum;
}

/* --- fork-exec: `size` new processes, one after the other. */

static uint64_t fork_exec_run(void *prepared, long size) {
  (void)prepared;
  uint64_t good = 0;
  for (long i = 0; i < size; i++) {
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      execl("/proc/self/exe", "kernels", "exit", (char *)NULL);
      fail("exec");
    }
    int status;
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    good += status == 0;
  }
  return good;
}

/* --- faults: maps 4 MiB, touches each page, and unmaps it, until `size` pages are touched. */

static uint64_t faults_run(void *prepared, long size) {
  (void)prepared;
  enum { PAGES = 1024, PAGE = 4096 };
  uint64_t sum = 0;
  for (long done = 0; done < size; done += PAGES) {
    char *block = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) fail("mmap");
    madvise(block, PAGES * PAGE, MADV_NOHUGEPAGE);
    for (long i = 0; i < PAGES; i++) {
      sum += (unsigned char)block[i * PAGE + i] + 1u;
      block[i * PAGE] = (char)i;
    }
    munmap(block, PAGES * PAGE);
  }
  return sum;
}

/* --- signals: `size` times to itself, with a handler. */

static volatile sig_atomic_t signals_seen;

static void on_signal(int number) {
  (void)number;
  signals_seen++;
}

static uint64_t signals_run(void *prepared, long size) {
  (void)prepared;
  struct sigaction action = {.sa_handler = on_signal};
  if (sigaction(SIGUSR1, &action, NULL) != 0) fail("sigaction");
  for (long i = 0; i < size; i++) raise(SIGUSR1);
  return (uint64_t)signals_seen;
}

/* --- timers: sleeps `size` times for 20 µs: a timer is set, the CPU halts, an interrupt wakes it. */

static uint64_t timers_run(void *prepared, long size) {
  (void)prepared;
  prctl(PR_SET_TIMERSLACK, 1ul);
  const struct timespec delay = {.tv_nsec = 20000};
  uint64_t slept = 0;
  for (long i = 0; i < size; i++) slept += clock_nanosleep(CLOCK_MONOTONIC, 0, &delay, NULL) == 0;
  return slept;
}

const struct kernel system_kernels[] = {{"syscalls", NULL, syscalls_run},   {"pipe", NULL, pipe_run},
                                        {"fork-exec", NULL, fork_exec_run}, {"faults", NULL, faults_run},
                                        {"signals", NULL, signals_run},     {"timers", NULL, timers_run},
                                        {NULL, NULL, NULL}};

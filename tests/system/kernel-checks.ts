/** What a guest's kernel and its programs do together: processes, signals, memory, time, files of /proc. */
import assert from 'node:assert/strict';
import type { Check } from './checks.ts';

/** The numbers in an output. */
const numbersOf = (output: string) => output.trim().split(/\s+/).map(Number);

function assertBetween(value: number, low: number, high: number, what: string): void {
  assert.ok(value >= low && value <= high, `${what}: ${value} is not from ${low} to ${high}`);
}

export const KERNEL_CHECKS: readonly Check[] = [
  {
    name: 'fork storm: 400 processes, 100 at once, all exit codes',
    script: `
      sum=0
      for round in 1 2 3 4; do
        pids=
        for i in $(seq 100); do (exit $i) & pids="$pids $!"; done
        for pid in $pids; do wait $pid; sum=$((sum + $?)); done
      done
      echo $sum
      deep() { [ $1 -eq 0 ] && echo bottom || (deep $(($1 - 1))); }; deep 60`,
    output: '20200\nbottom',
  },
  {
    name: 'programs started one after the other',
    script: 'i=0; while [ $i -lt 150 ]; do /bin/busybox true && i=$((i + 1)); done; echo $i',
    output: '150',
  },
  {
    name: 'signals: trap, kill, stop and continue, death by signal',
    script: `
      trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM
      kill -USR1 $$; (sleep 0.2; kill -USR1 $$) & wait $!; wait
      sh -c 'trap "echo child got INT" INT; kill -INT $$; echo alive'
      sleep 100 & pid=$!; kill -STOP $pid; sleep 0.2; cut -d' ' -f3 /proc/$pid/stat; kill -CONT $pid; sleep 0.1
      cut -d' ' -f3 /proc/$pid/stat; kill $pid; wait $pid; echo $?
      for signal in SEGV ILL FPE ABRT; do sh -c "kill -$signal \\$\\$" 2>/dev/null; echo $signal $?; done
      kill -TERM $$; sleep 5; echo not reached`,
    // Whether the shell tells of a job that a signal ended depends on when it notices.
    output: (output) =>
      assert.equal(
        output.replace('Terminated\n', '').trimEnd(),
        'usr1\nusr1\nchild got INT\nalive\nT\nS\n143\nSEGV 139\nILL 132\nFPE 136\nABRT 134\nterm',
      ),
    code: 3,
  },
  {
    name: 'alarms: timeout ends a sleeper and a busy loop',
    script: `
      timeout 1 sleep 100; echo $?; timeout 1 sh -c 'while :; do :; done'; echo $?
      timeout -s KILL 1 yes > /dev/null; echo $?; timeout 5 true; echo $?`,
    output: (output) => assert.deepEqual(output.match(/^\d+$/gm), ['143', '143', '137', '0']),
  },
  {
    name: 'many processes talk through pipes and a FIFO',
    script: `
      seq 1 20000 | cat | tr 0-9 a-j | cat | tr a-j 0-9 | awk '{ s += $1 } END { print s }'
      mkfifo fifo; (for i in 1 2 3; do echo line $i; done > fifo) & cat fifo
      for i in $(seq 30); do seq $i 300 | sort -rn | head -1 & done | uniq -c
      yes | head -c 1000000 | wc -c`,
    output: '200010000\nline 1\nline 2\nline 3\n     30 300\n1000000',
  },
  {
    name: 'two busy loops share the CPU',
    script: `
      busy() { n=0; while [ ! -e stop ]; do n=$((n + 1)); done; echo $n; }
      busy > a & busy > b & sleep 2; touch stop; wait; cat a b`,
    output(output) {
      const [a, b] = numbersOf(output);
      assert.ok(Math.min(a, b) > 100, output);
      assertBetween(a / b, 0.5, 2, 'share');
    },
  },
  {
    name: 'memory: a tmpfs file as large as half of RAM, and the failure of one that is too large',
    script: `
      mkdir m; mount -t tmpfs -o size=300m tmpfs m
      yes 'some text that is not only zeroes' | dd bs=1M count=200 iflag=fullblock of=m/file 2>/dev/null
      sha1sum < m/file; stat -c %s m/file
      dd if=/dev/zero bs=1M count=200 of=m/second 2>/dev/null || echo full; rm m/*; df -m m | awk 'END { print $3 }'; umount m`,
    output: '16508846407d78441565a175da2918e09628d4d8  -\n209715200\nfull\n0',
  },
  {
    name: '/proc says what the machine is',
    script: `
      grep -c ^processor /proc/cpuinfo; grep -o 'GenuineIntel\\|AuthenticAMD' /proc/cpuinfo
      awk '/^MemTotal/ { print ($2 > 400000 && $2 < 524288) }' /proc/meminfo; grep -c ttyS0 /proc/cmdline
      grep -q '^ *LOC:' /proc/interrupts && grep -q 'acpi$' /proc/interrupts && echo interrupts
      grep -c 'System RAM' /proc/iomem; grep -o 'serial' /proc/ioports | sort | uniq -c | awk '{ print $1 }'; cat /proc/sys/kernel/ostype
      grep -q tmpfs /proc/filesystems && grep -q ' /proc proc ' /proc/mounts && cat /proc/self/comm`,
    output: /^1\n(GenuineIntel|AuthenticAMD)\n1\n1\ninterrupts\n\d+\n4\nLinux\ncat$/,
  },
  {
    name: 'the kernel complains of nothing',
    script:
      "dmesg -r | awk -F'[<>]' '$2 % 8 <= 3'; dmesg | grep -E 'BUG|Oops|Call Trace|soft lockup|unstable|invalid opcode|WARNING'",
    output: '',
    code: 1,
  },
  {
    name: 'RTC and wall clock agree with each other',
    script: `
      cat /sys/class/rtc/rtc0/since_epoch 2>/dev/null || awk '/^rtc_time/ { print $3 }' /proc/driver/rtc; date +%s; date -u +%Y`,
    output(output) {
      const [rtc, now, year] = numbersOf(output);
      assertBetween(now - rtc, -2, 2, 'wall clock - RTC');
      assertBetween(now - Date.now() / 1000, -120, 5, "wall clock - host's wall clock");
      assert.equal(year, new Date().getUTCFullYear());
    },
  },
];

/** Clocks that must agree with each other and with the host; run alone in a guest that has nothing else to do. */
export const TIME_CHECKS: readonly Check[] = [
  {
    name: 'sleep takes as long as it says, by the uptime clock',
    script: `
      for seconds in 0.05 0.5 2; do
        before=$(cut -d' ' -f1 /proc/uptime); sleep $seconds; echo $before $(cut -d' ' -f1 /proc/uptime) $seconds
      done | awk '{ print $2 - $1 - $3 }'`,
    output(output) {
      for (const extra of numbersOf(output)) assertBetween(extra, -0.011, 1, 'seconds slept too long');
    },
  },
  {
    name: 'time, uptime and timer interrupts go on while a program computes',
    script: `
      cut -d' ' -f1 /proc/uptime; awk '/^ *LOC/ { print $2 }' /proc/interrupts; date +%s
      (trap 'exit 0' ALRM; timeout 3 sh -c 'while :; do :; done'); 
      cut -d' ' -f1 /proc/uptime; awk '/^ *LOC/ { print $2 }' /proc/interrupts; date +%s`,
    output(output) {
      const [up1, ticks1, date1, up2, ticks2, date2] = numbersOf(output.replaceAll(/[A-Za-z].*\n/g, ''));
      assertBetween(up2 - up1, 2.9, 8, 'uptime');
      assertBetween(date2 - date1, 2, 9, 'wall clock');
      // 250 a second, less what the host took away.
      assertBetween((ticks2 - ticks1) / (up2 - up1), 50, 300, 'timer interrupts a second');
    },
  },
  {
    name: 'a busy program gets its CPU time, an idle one none',
    script: `
      times_of() { awk '{ print $14 + $15 }' /proc/$1/stat; }
      (while :; do :; done) & busy=$!; sleep 100 & idle=$!; sleep 2
      times_of $busy; times_of $idle; kill $busy $idle`,
    output(output) {
      const [busy, idle] = numbersOf(output);
      assertBetween(busy, 80, 300, 'hundredths of a second of the busy one');
      assertBetween(idle, 0, 10, 'hundredths of a second of the idle one');
    },
  },
  {
    name: 'the clock source is one that the kernel trusts',
    script:
      'cat /sys/devices/system/clocksource/clocksource0/current_clocksource; dmesg | grep -ci "clocksource.*unstable"',
    output: /^(tsc|hpet|acpi_pm|kvm-clock)\n0$/,
    code: 1,
  },
];

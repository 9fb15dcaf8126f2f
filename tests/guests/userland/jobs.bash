# Bash: loops, functions, jobs, traps, coprocesses.
primes() { local n i; for ((n = 2; n < $1; n++)); do for ((i = 2; i * i <= n; i++)); do ((n % i)) || continue 2; done; echo $n; done; }
primes 1500 | tail -1; primes 200 | wc -l
trap 'echo caught $?' EXIT; trap 'echo usr1' USR1; kill -USR1 $$
pids=(); for i in {1..40}; do (exit $i) & pids+=($!); done; total=0; for pid in "${pids[@]}"; do wait $pid; ((total += $?)); done; echo $total
coproc BC { while read -r a b; do echo $((a * b)); done; }; echo 6 7 >&"${BC[1]}"; read -r product <&"${BC[0]}"; echo $product
set -o pipefail; seq 100000 | head -1; false | true; echo $?; { (ulimit -c 0; kill -SEGV $BASHPID); } 2>/dev/null; echo $?


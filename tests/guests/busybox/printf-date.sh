# Printf, seq and date of the shell.
printf '%d %u %x %o %c %s %%\n' -1 4294967296 3735928559 511 xyz str; printf '%.3f %10.4e %g\n' 2.5 12345.678 1e-5
seq 0 0.25 1 | tr '\n' ' '; seq -s, 10 -3 -5; seq -w 8 11 | tr '\n' ' '; echo
for seconds in 0 951782400 2147483648 4102444799; do TZ=UTC date -d @$seconds '+%Y-%m-%d %H:%M:%S %a %j'; done
TZ=UTC date -d '2024-02-29 12:34:56' +%s; cal 2 2024; printf '%s\n' c a b | sort | tr '\n' ' '; usleep 1000; echo

# Find, xargs, stat, test, truncate, dd, cmp, diff, patch.
for i in 1 2 3 4 5; do mkdir -p d$i/e$i; seq 1 $((i * 100)) > d$i/e$i/f$i; done
find . -type f -size +1 | sort; find . -name 'e[24]' | sort | xargs -n1 basename; find . -type f | sort | xargs cat | wc
stat -c '%s %a %F' d3/e3/f3; du -s d5 >/dev/null && echo du; truncate -s 12345 t; wc -c < t
dd if=/dev/zero bs=1000 count=77 2>/dev/null | tr '\0' A | dd bs=7 skip=10 count=2 2>/dev/null; echo
seq 1 20 > one; sed 's/^1\(.\)$/x\1/;7d' one > two; diff -u one two | sed '1,2s/	.*//' | tee change | md5sum; patch one < change; cmp one two && echo patched
cmp d1/e1/f1 d2/e2/f2 || expr 17 \* 3 + 4; expr abcdef : 'abc\(.*\)'; [ -s one ] && echo tests

# Sort, uniq, cut, join of columns, head and tail.
awk 'BEGIN { for (x = i = 1; i <= 2000; i++) {
  x = (x * 16807) % 2147483647; printf "%d %d key%03d\n", i, x, x % 97 } }' > table
sort -k2,2n table | head -2; sort -k3,3 -k2,2nr table | tail -2; sort -rn table | sed -n 5p
cut -d' ' -f3 table | sort | uniq -c | sort -k1,1nr -k2 | head -3; sort -k2,2n table | md5sum; tac table | sha1sum
shuf table | sort -n | cmp - table && echo same; nl table | tail -1; paste table table | sed -n 3p

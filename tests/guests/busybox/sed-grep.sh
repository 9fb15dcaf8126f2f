# Sed, grep, tr, fold, expand.
awk 'BEGIN { for (x = i = 1; i <= 2000; i++) {
  x = (x * 16807) % 2147483647; printf "%d %d key%03d\n", i, x, x % 97 } }' > table
sed -n '/key05[0-4]$/{s/^\([0-9]*\) .*key\(...\)/\2 at \1/p}' table | head -3
sed -e '1,7d' -e 's/[13579]/o/g;s/[02468]/e/g' table | sort | uniq -c | sort -n | tail -1
grep -cE '^(1|2)[0-9]{2} .*(7|9)[0-9]* ' table; grep -vc 'key0' table; grep -o 'key09.' table | sort -u | tr '\n' ' '
echo; seq 1 12 | tr '\n' ',' | fold -w 11; echo; printf 'a\tb\n' | expand | tr ' ' .; echo abc | tr a-c x-z; rev table | sed 1q

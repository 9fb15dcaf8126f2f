# Grep, sed, gzip.
seq 1 20000 > n; grep -cP '^(\d)\d*\1$' n; grep -cE '(12|34|56)+.*7' n; grep -F -c 99 n; grep -ob 777 n | tail -1
sed -En 's/^([0-9])(.*)([0-9])$/\3\2\1/p' n | sed -n '$p;1p'; sed '1~2d;y/0123456789/abcdefghij/' n | md5sum
gzip -9nc n | md5sum; gzip -1c n | zcat | md5sum; md5sum < n

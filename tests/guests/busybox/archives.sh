# Compression and archives: gzip, bzip2, xz, tar, cpio.
awk 'BEGIN { for (x = i = 1; i <= 2000; i++) {
  x = (x * 16807) % 2147483647; printf "%d %d key%03d\n", i, x, x % 97 } }' > table
for level in 1 6 9; do gzip -$level -c table | gunzip | cmp - table && echo gzip $level; done
bzip2 -c table | bunzip2 | cmp - table && echo bzip2; bzip2 -9 -c table | md5sum
mkdir -p tree/a/b; cp table tree/a/b/; ln -s b/table tree/a/link; echo x > tree/x; chmod 640 tree/x
tar cf tree.tar tree && mkdir out && tar xf tree.tar -C out && diff -r tree out/tree && tar tf tree.tar | sort
tar czf - tree | tar tzf - | wc -l; find tree | sort | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null | wc -l
base64 -d <<END | unxz | uniq -c
/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4ABPABFdADwegAZx6I+4rt3R7Wv8X4AAAAAAALS6Oq3m
p1AnAAEtUDC+x2sftvN9AQAAAAAEWVo=
END

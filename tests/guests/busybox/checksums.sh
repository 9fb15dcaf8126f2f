# Checksums.
awk 'BEGIN { for (x = i = 1; i <= 2000; i++) {
  x = (x * 16807) % 2147483647; printf "%d %d key%03d\n", i, x, x % 97 } }' > table
md5sum table; sha1sum table; sha256sum table; sha512sum table; sha3sum table; crc32 table; base64 table | md5sum
uuencode table table | sed 1d | md5sum; printf abc | sha256sum; xxd table | sha1sum; od -x table | md5sum; hexdump -C table | tail -2

# Coreutils: the same result as other ways to it.
seq 1 30000 > n; sort -R --random-source=n n | sort -n | md5sum; sort --parallel=4 -S 1M -rn n | tail -1
split -l 7000 n part.; cat part.* | md5sum; sum n; cksum n; b2sum n | cut -c1-32; sha512sum n | cut -c1-32; sha224sum n | cut -c1-32
numfmt --to=iec 123456789; factor 123456789012345678901234567891; seq -f %.3e 1 0.5 2; od -An -tfD -N16 <(printf '\x18\x2d\x44\x54\xfb\x21\x09\x40\x69\x57\x14\x8b\x0a\xbf\x05\x40')
printf '%.20Lg %a\n' 0.1 1e-310; date -u -d '1970-01-01 + 1234567890 seconds' +%FT%T; expr 123456789 \* 987654321
comm -12 <(seq 1 3 30 | sort) <(seq 1 4 30 | sort) | tr '\n' ' '; join <(seq 3 | nl -w1) <(seq 3 | nl -w1) | tail -1; tac n | head -2 | paste -sd+
stat -f -c %T /proc; mkdir -p a/b; touch a/b/c; ls -R a | wc -l; basenc --base32 <<< hello; truncate -s 1G sparse; stat -c '%s %b' sparse; timeout 0.3 sleep 9; echo $?

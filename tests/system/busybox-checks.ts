/** What busybox's programs print on a real x86 processor: shell, text tools, archives, arithmetic. */
import type { Check } from './checks.ts';

/** 2000 lines of three pseudo-random columns, the same on every machine. */
const TABLE = `awk 'BEGIN { for (x = i = 1; i <= 2000; i++) {
  x = (x * 16807) % 2147483647; printf "%d %d key%03d\\n", i, x, x % 97 } }' > table`;

export const BUSYBOX_CHECKS: readonly Check[] = [
  {
    name: 'shell: loops, arithmetic, functions',
    script: `
      sum=0; i=0
      while [ $i -lt 3000 ]; do i=$((i + 1)); [ $((i % 3)) -eq 0 ] && continue; sum=$((sum + i * i)); done; echo $sum
      fib() { [ $1 -lt 2 ] && echo $1 && return; echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }; fib 9
      echo $((-7 / 2)) $((-7 % 3)) $((1 << 62)) $((~5 ^ 0xff)) $((9223372036854775807 + 1)) $((0x7fff * 0777 - 1))
      for word in one two "three four"; do printf '<%s>' "$word"; done; echo
      text=hello.tar.gz; echo \${text%.*} \${text%%.*} \${text#*.} \${#text} \${none:-default}
      case $text in *.zip) echo zip ;; *.tar.*) echo tar ;; esac`,
    output: `5999999000
34
-3 -1 4611686018427387904 -251 -9223372036854775808 16743936
<one><two><three four>
hello.tar hello tar.gz 12 default
tar`,
  },
  {
    name: 'shell: here documents, pipes, redirections, exit codes',
    script: `
      cat <<END | tr a-z A-Z | rev
      here is $((40 + 2))
END
      { echo out; echo err >&2; } 2>errors | wc -c; cat errors
      false; echo $?; (exit 42); echo $?; sh -c 'kill -9 $$'; echo $?
      seq 1 100000 | while read n; do [ $n = 5000 ] && echo at $n && break; done
      exec 7>kept; echo kept >&7; exec 7>&-; cat kept; ! true || echo not`,
    output: `24 SI EREH      
4
err
1
42
Killed
137
at 5000
kept
not`,
  },
  {
    name: 'awk: floating point, printf, arrays, functions',
    script: `awk 'BEGIN {
      printf "%.17g %.17g %.17g\\n", 0.1, 1/3, 2/3
      printf "%g %g %g %g\\n", 1e300*10, 1e-320, 123456789, 0.00001234
      printf "%e %E %f %G\\n", 6.02214076e23, 1e-7, 3.14159265358979, 1e10
      printf "%d %i %x %o %c %5.2f|%-8s|%08.3f|%+d\\n", 2147483648, -2147483648, 255, 8, 65, 2.345, "left", -3.14159, 7
      print 7 % -3, -7 % 3, 1e6, 1e16, 100000 * 100000, 0.1 + 0.2, 1/4
      print int(-3.9), int("12abc"), substr("hello", 2, 3), index("abc", "c"), length("four")
      for (i = 0; i < 50000; i++) { s += 1 / (2*i + 1) * (i % 2 ? -1 : 1); a[i % 100] += i }
      printf "%.10f %d\\n", 4 * s, a[37]; n = split("a:b:c", p, ":"); print n, p[3], toupper("x") gsub(/o/, "0")
    }'`,
    output: `0.10000000000000001 0.33333333333333331 0.66666666666666663
1e+301 9.99989e-321 1.23457e+08 1.234e-05
6.022141e+23 1.000000E-07 3.141593 1E+10
-2147483648 -2147483648 ff 10 A  2.35|left    |-003.142|+7
1 -1 1000000 10000000000000000 10000000000 0.3 0.25
-3 12 ell 3 4
3.1415726536 12493500
3 c X0`,
  },
  {
    name: 'sort, uniq, cut, join of columns, head and tail',
    script: `${TABLE}
      sort -k2,2n table | head -2; sort -k3,3 -k2,2nr table | tail -2; sort -rn table | sed -n 5p
      cut -d' ' -f3 table | sort | uniq -c | sort -k1,1nr -k2 | head -3; sort -k2,2n table | md5sum; tac table | sha1sum
      shuf table | sort -n | cmp - table && echo same; nl table | tail -1; paste table table | sed -n 3p`,
    output: `1 16807 key026
1791 84083 key081
237 462851407 key096
1199 97754174 key096
1996 660405117 key017
     37 key041
     33 key016
     32 key029
76d87f8903dcb9435ea86fd17045d0af  -
c86f579e40f70130b35a5a7bd0805c688f5d0e02  -
same
  2000	2000 75099568 key034
3 1622650073 key026	3 1622650073 key026`,
  },
  {
    name: 'sed, grep, tr, fold, expand',
    script: `${TABLE}
      sed -n '/key05[0-4]$/{s/^\\([0-9]*\\) .*key\\(...\\)/\\2 at \\1/p}' table | head -3
      sed -e '1,7d' -e 's/[13579]/o/g;s/[02468]/e/g' table | sort | uniq -c | sort -n | tail -1
      grep -cE '^(1|2)[0-9]{2} .*(7|9)[0-9]* ' table; grep -vc 'key0' table; grep -o 'key09.' table | sort -u | tr '\\n' ' '
      echo; seq 1 12 | tr '\\n' ',' | fold -w 11; echo; printf 'a\\tb\\n' | expand | tr ' ' .; echo abc | tr a-c x-z; rev table | sed 1q`,
    output: `051 at 12
052 at 29
052 at 41
      2 oooo oeoeooeoe keyeoe
164
0
key090 key091 key092 key093 key094 key095 key096 
1,2,3,4,5,6
,7,8,9,10,1
1,12,
a.......b
xyz
620yek 70861 1`,
  },
  {
    name: 'bc and dc: long arithmetic',
    script: `
      echo '2^521 - 1; scale = 40; sqrt(2); 4 * a(1); e(1); l(2); s(1)' | BC_LINE_LENGTH=0 bc -l
      echo 'define f(n) { if (n < 2) return 1
        return n * f(n - 1)
      }
      f(60); 10^40 / 7; obase = 16; 2^64 - 59' | bc
      echo '16 o 123456789 987654321 * p 2 k 22 7 / p' | dc; factor 1000000007 600851475143 18446744073709551557`,
    output: `6864797660130609714981900799081393217269435300143305409394463459185543183397656052122559640661454554977296311391480858037121987999716643812574028291115057151
1.4142135623730950488016887242096980785696
3.1415926535897932384626433832795028841968
2.7182818284590452353602874713526624977572
.6931471805599453094172321214581765680755
.8414709848078965066525023216302989996225
83209871127413901442763411832233643807541726063612459524492776964096\\
00000000000000
1428571428571428571428571428571428571428
FFFFFFFFFFFFFFC5
1B13114FBFF5385
3.23
1000000007: 1000000007
600851475143: 71 839 1471 6857
18446744073709551557: 18446744073709551557`,
  },
  {
    name: 'checksums',
    script: `${TABLE}
      md5sum table; sha1sum table; sha256sum table; sha512sum table; sha3sum table; crc32 table; base64 table | md5sum
      uuencode table table | sed 1d | md5sum; printf abc | sha256sum; xxd table | sha1sum; od -x table | md5sum; hexdump -C table | tail -2`,
    output: `793f5143ce06783a702ba0b8d085597a  table
0436f7604ac3cc01a54ba8c4389981cb325c2af7  table
c5728bc75f4dd6acf1430dffef106d954c3c67cb36b72a9020a5d558a80ef3d6  table
8ae27a3fb46a05850edd6515e848f34a1f20c0ce915bad573ef6b6a492a421f33a0b02600eded997c2c325ac7b9c907a7dd35bec164c853ca8d0bdef38d9e3dd  table
4a5c3e035b5d6975443a54cbf71e6d3b4687923cbfc2e9818b213b21  table
473cfe8f table
c12f4f2618a899a000e2d5b066abcd00  -
0e66e3515e3054a61afd260766e5279a  -
ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -
c8d4922306a9a0314aaee20c66866d631c54e630  -
6bfb935c156099744f2a1a9a51a490cc  -
0000ab50  34 0a                                             |4.|
0000ab52`,
  },
  {
    name: 'compression and archives: gzip, bzip2, xz, tar, cpio',
    script: `${TABLE}
      for level in 1 6 9; do gzip -$level -c table | gunzip | cmp - table && echo gzip $level; done
      bzip2 -c table | bunzip2 | cmp - table && echo bzip2; bzip2 -9 -c table | md5sum
      mkdir -p tree/a/b; cp table tree/a/b/; ln -s b/table tree/a/link; echo x > tree/x; chmod 640 tree/x
      tar cf tree.tar tree && mkdir out && tar xf tree.tar -C out && diff -r tree out/tree && tar tf tree.tar | sort
      tar czf - tree | tar tzf - | wc -l; find tree | sort | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null | wc -l
      base64 -d <<END | unxz | uniq -c
/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4ABPABFdADwegAZx6I+4rt3R7Wv8X4AAAAAAALS6Oq3m
p1AnAAEtUDC+x2sftvN9AQAAAAAEWVo=
END`,
    output: `gzip 1
gzip 6
gzip 9
bzip2
2db79a81c5fe9c1189da9a83efad98ee  -
tree/
tree/a/
tree/a/b/
tree/a/b/table
tree/a/link
tree/x
6
6
      8 xz works.`,
  },
  {
    name: 'find, xargs, stat, test, truncate, dd, cmp, diff, patch',
    script: `
      for i in 1 2 3 4 5; do mkdir -p d$i/e$i; seq 1 $((i * 100)) > d$i/e$i/f$i; done
      find . -type f -size +1 | sort; find . -name 'e[24]' | sort | xargs -n1 basename; find . -type f | sort | xargs cat | wc
      stat -c '%s %a %F' d3/e3/f3; du -s d5 >/dev/null && echo du; truncate -s 12345 t; wc -c < t
      dd if=/dev/zero bs=1000 count=77 2>/dev/null | tr '\\0' A | dd bs=7 skip=10 count=2 2>/dev/null; echo
      seq 1 20 > one; sed 's/^1\\(.\\)$/x\\1/;7d' one > two; diff -u one two | sed '1,2s/\t.*//' | tee change | md5sum; patch one < change; cmp one two && echo patched
      cmp d1/e1/f1 d2/e2/f2 || expr 17 \\* 3 + 4; expr abcdef : 'abc\\(.*\\)'; [ -s one ] && echo tests`,
    output: `./d2/e2/f2
./d3/e3/f3
./d4/e4/f4
./d5/e5/f5
e2
e4
     1500      1500      5460
1092 644 regular file
du
12345
AAAAAAAAAAAAAA
b2fabf2452b8ed09de8a4a6dcc8998bc  -
patching file one
patched
cmp: EOF on d1/e1/f1
55
def
tests`,
  },
  {
    name: 'printf, seq and date of the shell',
    script: `
      printf '%d %u %x %o %c %s %%\\n' -1 4294967296 3735928559 511 xyz str; printf '%.3f %10.4e %g\\n' 2.5 12345.678 1e-5
      seq 0 0.25 1 | tr '\\n' ' '; seq -s, 10 -3 -5; seq -w 8 11 | tr '\\n' ' '; echo
      for seconds in 0 951782400 2147483648 4102444799; do TZ=UTC date -d @$seconds '+%Y-%m-%d %H:%M:%S %a %j'; done
      TZ=UTC date -d '2024-02-29 12:34:56' +%s; cal 2 2024; printf '%s\\n' c a b | sort | tr '\\n' ' '; usleep 1000; echo`,
    output: `-1 4294967296 deadbeef 777 x str %
2.500 1.2346e+04 1e-05
0.00 0.25 0.50 0.75 1.00 10,7,4,1,-2,-5
08 09 10 11 
1970-01-01 00:00:00 Thu 001
2000-02-29 00:00:00 Tue 060
2038-01-19 03:14:08 Tue 019
2099-12-31 23:59:59 Thu 365
1709210096
   February 2024
Su Mo Tu We Th Fr Sa
             1  2  3
 4  5  6  7  8  9 10
11 12 13 14 15 16 17
18 19 20 21 22 23 24
25 26 27 28 29
                     
a b c`,
  },
  {
    name: 'editors: ed, vi, sed in place',
    script: `
      seq 1 5 > file; printf '2s/2/x2/\\n3s/3/x3/\\n4d\\nw\\nq\\n' | ed file; cat file; sed -i 's/x/y/;$a end' file; tr '\\n' ' ' < file; echo
      vi -c ':1d' -c ':s/y2/vi was here/' -c ':wq' file > /dev/null; cat file`,
    output: `10
10
1
x2
x3
5
1 y2 y3 5 end 
vi was here
y3
5
end`,
  },
];

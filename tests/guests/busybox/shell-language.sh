# Shell: loops, arithmetic, functions.
sum=0; i=0
while [ $i -lt 3000 ]; do i=$((i + 1)); [ $((i % 3)) -eq 0 ] && continue; sum=$((sum + i * i)); done; echo $sum
fib() { [ $1 -lt 2 ] && echo $1 && return; echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }; fib 9
echo $((-7 / 2)) $((-7 % 3)) $((1 << 62)) $((~5 ^ 0xff)) $((9223372036854775807 + 1)) $((0x7fff * 0777 - 1))
for word in one two "three four"; do printf '<%s>' "$word"; done; echo
text=hello.tar.gz; echo ${text%.*} ${text%%.*} ${text#*.} ${#text} ${none:-default}
case $text in *.zip) echo zip ;; *.tar.*) echo tar ;; esac

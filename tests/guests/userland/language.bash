# Bash: arrays, arithmetic, substitutions, patterns.
declare -A count; for word in b a c a b a; do ((count[$word]++)); done
for word in $(printf '%s\n' "${!count[@]}" | sort); do echo "$word=${count[$word]}"; done
list=(one "two words" three); echo "${#list[@]}" "${list[1]^^}" "${list[@]: -1}" "${list[*]/o/0}"
echo $((2 ** 62 - 1)) $((-17 / 5)) $((-17 % 5)) $((16#ff + 2#1011)) $((1 ? 3 : 4)) $(( (1 << 63) >> 63 ))
[[ "kernel-6.1.0-56" =~ ([0-9]+)\.([0-9]+) ]] && echo "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
paste -d: <(seq 3) <(seq 2 4) | tr '\n' ' '; printf '%(%Y)T %q %05.1f %x\n' 0 'a b' 3.14159 255; echo {a..e}{1..3} | wc -w
mapfile -t lines < <(seq 1000); echo "${#lines[@]} ${lines[999]}"; read -r x y <<< 'p q r'; echo "$y"

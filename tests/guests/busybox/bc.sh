# Bc and dc: long arithmetic.
echo '2^521 - 1; scale = 40; sqrt(2); 4 * a(1); e(1); l(2); s(1)' | BC_LINE_LENGTH=0 bc -l
echo 'define f(n) { if (n < 2) return 1
  return n * f(n - 1)
}
f(60); 10^40 / 7; obase = 16; 2^64 - 59' | bc
echo '16 o 123456789 987654321 * p 2 k 22 7 / p' | dc; factor 1000000007 600851475143 18446744073709551557

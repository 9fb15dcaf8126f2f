# Awk: floating point, printf, arrays, functions.
awk 'BEGIN {
printf "%.17g %.17g %.17g\n", 0.1, 1/3, 2/3
printf "%g %g %g %g\n", 1e300*10, 1e-320, 123456789, 0.00001234
printf "%e %E %f %G\n", 6.02214076e23, 1e-7, 3.14159265358979, 1e10
printf "%d %i %x %o %c %5.2f|%-8s|%08.3f|%+d\n", 2147483648, -2147483648, 255, 8, 65, 2.345, "left", -3.14159, 7
print 7 % -3, -7 % 3, 1e6, 1e16, 100000 * 100000, 0.1 + 0.2, 1/4
print int(-3.9), int("12abc"), substr("hello", 2, 3), index("abc", "c"), length("four")
for (i = 0; i < 50000; i++) { s += 1 / (2*i + 1) * (i % 2 ? -1 : 1); a[i % 100] += i }
printf "%.10f %d\n", 4 * s, a[37]; n = split("a:b:c", p, ":"); print n, p[3], toupper("x") gsub(/o/, "0")
    }'

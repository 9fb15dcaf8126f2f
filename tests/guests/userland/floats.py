# Floats: repr, arithmetic, math.
import math, struct, hashlib, random, cmath, statistics, fractions
print(0.1 + 0.2, 1e23, 1.7976931348623157e308 * 10, 5e-324, -0.0, float('nan'), 2 ** 0.5, 1 / 3, 1e16, 123456789.123)
print(float.hex(math.pi), (0.1).as_integer_ratio(), round(2.675, 2), round(-2.5), 7 // -2, -7 % 3.5, divmod(1e20, 3.7))
print(math.fsum([0.1] * 10), sum([0.1] * 10), math.hypot(3, 4), math.gamma(5.5), math.isqrt(10 ** 40), math.comb(60, 30))
print(*('%.12g' % f(0.7) for f in (math.sin, math.cos, math.tan, math.exp, math.log, math.atan, math.erf, math.cosh)))
random.seed(42); values = [random.uniform(-1e6, 1e6) for _ in range(20000)]
print(values[0], hashlib.sha256(' '.join(map(repr, values)).encode()).hexdigest())
assert all(float(repr(v)) == v for v in values)
digest = hashlib.md5()
for a, b in zip(values, reversed(values)):
    digest.update(struct.pack('<5d', a + b, a - b, a * b, a / b, math.sqrt(abs(a)))); digest.update(repr(int(a) // 7).encode())
print(digest.hexdigest(), statistics.pstdev(values[:999]), fractions.Fraction(values[3]).limit_denominator(1000), cmath.sqrt(-2))

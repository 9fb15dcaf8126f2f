# Integers, decimals, strings, re, json.
import decimal, re, json, hashlib, zlib, base64, itertools, collections, textwrap, struct, datetime
print(2 ** 521 % 1000000007, pow(3, 10 ** 30, 10 ** 9 + 7), (10 ** 50) // 7, -(10 ** 30) >> 10, hex(0xdeadbeef ** 3), 3 ** 200 & 0xffff)
n = 1
for i in range(1, 1200): n *= i
print(hashlib.sha1(hex(n).encode()).hexdigest(), n.bit_length(), sum(map(int, str(n % 10 ** 3000))))
decimal.getcontext().prec = 60
print(decimal.Decimal(2).sqrt(), decimal.Decimal(1) / 7, decimal.Decimal('1.1') ** 50, decimal.Decimal(2).exp())
text = 'The quick brown fox jumps over 13 lazy dogs, 7 times; user@example.org and a.b@c.de'
print(re.findall(r'\b(\w+)@(\w+)', text), re.sub(r'(\d+)', lambda m: str(int(m[1]) ** 2), text)[26:60], re.split(r'[,;]\s*', text)[1])
data = {'list': [1, 2.5, None, True], 'text': 'äöü\u20ac\n', 'deep': {'x': {'y': [[]] * 3}}, 'big': 10 ** 25, 'e': 1e-7}
print(json.dumps(data, sort_keys=True), json.loads(json.dumps(data)) == data)
blob = bytes(i * i % 251 for i in range(100000))
for name in ('md5', 'sha1', 'sha256', 'sha512', 'sha3_256', 'blake2b'): print(name, hashlib.new(name, blob).hexdigest()[:24])
print(zlib.crc32(blob), zlib.adler32(blob), zlib.decompress(zlib.compress(blob, 9)) == blob, base64.b85encode(blob[:9]).decode())
print(sum(1 for p in itertools.permutations(range(7)) if p[0] < p[-1]), collections.Counter('mississippi').most_common(2))
print('ß'.upper(), 'ﬁ'.casefold(), '\U0001f40d'.encode('utf-8'), datetime.date(2024, 2, 29) + datetime.timedelta(366), f'{12345.678:>14,.2f}|{255:#010b}')

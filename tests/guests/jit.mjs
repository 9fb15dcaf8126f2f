// Work for a compiler that makes code at run time: types that change under hot loops, code that is made and thrown away,
// WebAssembly, regular expressions, garbage. Prints one line a part, the same on every correct CPU.
import { createHash } from 'node:crypto';

const line = (name, value) => console.log(`${name}: ${value}`);

function hot(values, f) {
  let sum = 0;
  for (let round = 0; round < 200; round++) for (const value of values) sum = f(sum, value);
  return sum;
}
const integers = Array.from({ length: 500 }, (_, i) => (i * 7919) % 1009);
line(
  'integers',
  hot(integers, (sum, x) => (sum * 31 + x) | 0),
);
line(
  'doubles',
  hot(
    integers.map((x) => x / 7),
    (sum, x) => Math.sqrt(sum * sum + x),
  ).toFixed(9),
);
// The same loop, compiled for integers and then given strings and objects.
const add = (sum, x) => (typeof x === 'number' ? sum + x : sum + x.length);
line(
  'changed',
  [integers, integers.map(String), integers.map((length) => ({ length }))].map((v) => hot(v, add)),
);

let made = 0;
for (let i = 0; i < 2000; i++)
  made = (made + new Function('x', `return (x * ${i} + ${i % 7}) % 65537`)(made + i)) % 65537;
line('made functions', made);

// (module (func (export "f") (param i32) (result i32) (local i32) loop: a += i * i; i -= 1 while i))
const bytes = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 30, 1, 28, 1, 1, 127,
  3, 64, 32, 1, 32, 0, 32, 0, 108, 106, 33, 1, 32, 0, 65, 1, 107, 34, 0, 13, 0, 11, 32, 1, 11,
]);
const { f } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
let squares = 0;
for (let i = 0; i < 300; i++) squares = (squares + f(1000 + i)) | 0;
line('wasm', squares);

const text = integers.map((x) => `key${x % 37}=value-${x};`).join(' ');
line(
  'regexp',
  [...text.matchAll(/key(\d+)=value-(\d*[02468]);/g)].reduce((sum, [, a, b]) => sum + a * b, 0),
);

const tree = (depth) => (depth === 0 ? null : { left: tree(depth - 1), right: tree(depth - 1), depth });
const count = (node) => (node === null ? 0 : 1 + count(node.left) + count(node.right));
let nodes = 0;
for (let i = 0; i < 10; i++) nodes += count(JSON.parse(JSON.stringify(tree(12))));
line('garbage', nodes);

function* fibonacci() {
  for (let [a, b] = [0n, 1n]; ; [a, b] = [b, a + b]) yield a;
}
line(
  'bigint',
  createHash('sha256')
    .update(String(fibonacci().drop(3000).next().value))
    .digest('hex'),
);
const results = await Promise.all(integers.map(async (x) => (await x) * 2));
line(
  'async',
  results.reduce((a, b) => a + b),
);

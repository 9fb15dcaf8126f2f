import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeOptions, parseOptions, suggestion, UsageError } from './options.ts';

const TABLE = {
  kernel: { value: 'FILE', help: 'a kernel' },
  memory: { value: 'SIZE', short: 'm', help: 'how much' },
  disk: { value: 'FILE', repeats: true, help: 'a disk' },
  help: { short: 'h', help: 'this text' },
} as const;

test('the forms of an option', () => {
  assert.deepEqual(parseOptions(TABLE, []), {});
  assert.deepEqual(parseOptions(TABLE, ['--kernel', 'a', '--memory=1=2']), { kernel: 'a', memory: '1=2' });
  assert.deepEqual(parseOptions(TABLE, ['-m', '-x', '-h']), { memory: '-x', help: true });
  assert.deepEqual(parseOptions(TABLE, ['--kernel=']), { kernel: '' });
  assert.deepEqual(parseOptions(TABLE, ['--disk', 'a', '--disk=b']), { disk: ['a', 'b'] });
  assert.deepEqual(parseOptions(TABLE, ['--kernel=two\nlines']), { kernel: 'two\nlines' });
});

const COMPLAINTS: [string[], RegExp][] = [
  [['--kernle', 'x'], /^unknown option --kernle; did you mean --kernel\?$/],
  [['-kernel', 'x'], /^unknown option -kernel; did you mean --kernel\?$/],
  [['--mem=1G'], /^unknown option --mem; did you mean --memory\?$/],
  [['--zzz'], /^unknown option --zzz$/],
  [['--toString'], /^unknown option --toString$/],
  [['--kernel'], /^option --kernel needs a value: --kernel FILE$/],
  [['-h=1'], /^option -h takes no value$/],
  [['--kernel', 'a', '--kernel', 'b'], /^option --kernel is given twice$/],
  [['vmlinuz'], /^unexpected argument "vmlinuz"$/],
  [['-'], /^unexpected argument "-"$/],
];

for (const [args, message] of COMPLAINTS) {
  test(`a wrong command line: ${args.join(' ')}`, () => {
    assert.throws(
      () => parseOptions(TABLE, args),
      (error) => error instanceof UsageError && message.test(error.message),
    );
  });
}

test('the nearest name is suggested, and only a near one', () => {
  assert.equal(suggestion('rnu', ['help', 'run']), '; did you mean run?');
  assert.equal(suggestion('migrate', ['help', 'run']), '');
});

test('help lists every option on a line of its own', () => {
  assert.equal(
    describeOptions(TABLE),
    '      --kernel FILE  a kernel\n  -m, --memory SIZE  how much\n      --disk FILE    a disk\n  -h, --help         this text\n',
  );
});

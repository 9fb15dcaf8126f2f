import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDisk } from './disk-option.ts';
import { UsageError } from './options.ts';

test('a file, and what is said of it', () => {
  assert.deepEqual(parseDisk('/a/b.img'), { file: '/a/b.img' });
  assert.deepEqual(parseDisk('/a,readonly,format=qcow2,serial=X=1'), {
    file: '/a',
    readOnly: true,
    format: 'qcow2',
    serial: 'X=1',
  });
  assert.deepEqual(parseDisk('/one,,two,,,format=raw'), { file: '/one,two,', format: 'raw' });
  assert.deepEqual(parseDisk('/a,bus=scsi,queues=2'), { file: '/a', bus: 'scsi', queues: 2 });
  assert.equal(parseDisk('here.img').file, `${process.cwd()}/here.img`);
});

const COMPLAINTS: readonly [string, RegExp][] = [
  ['', /^--disk : the file's name comes first/],
  [',readonly', /the file's name comes first/],
  ['a,', /unknown setting ""/],
  ['a,readonly=on', /unknown setting "readonly=on"/],
  ['a,fromat=raw', /unknown setting "fromat=raw"; did you mean format\?$/],
  ['a,queues=', /unknown setting "queues="/],
  ['a,bus=ide', /unknown setting "bus=ide"/],
  ['a,format=vmdq', /there is no disk format vmdq; there are qcow2, .*, raw$/],
];

for (const [text, message] of COMPLAINTS) {
  test(`a wrong --disk: ${text}`, () => {
    assert.throws(
      () => parseDisk(text),
      (error) => error instanceof UsageError && message.test(error.message),
    );
  });
}

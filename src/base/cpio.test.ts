import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { UserError } from './errors.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

const ENTRIES: CpioEntry[] = [
  { kind: 'directory', path: 'bin', permissions: 0o755 },
  { kind: 'file', path: 'bin/hello', permissions: 0o755, data: bytes('hi\n') },
  { kind: 'symlink', path: 'bin/greet', target: 'hello' },
  { kind: 'character-device', path: 'console', permissions: 0o600, major: 5, minor: 1 },
];

test('one file, byte for byte (newc header, NUL-terminated name, padding to 4)', () => {
  const archive = writeCpio([{ kind: 'file', path: 'abc', permissions: 0o644, data: bytes('12345') }]);
  const field = (value: number) => value.toString(16).padStart(8, '0');
  const header = ['070701', ...[1, 0o100644, 0, 0, 1, 0, 5, 0, 0, 0, 0, 4, 0].map(field)].join('');
  const trailer = ['070701', ...[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0].map(field)].join('');
  const expected = `${header}abc\0${'\0\0'}12345${'\0\0\0'}${trailer}TRAILER!!!\0${'\0\0\0'}`;
  assert.equal(Buffer.from(archive).toString('latin1'), expected);
});

test('an archive ends at a multiple of 4, so that another one may follow', () => {
  for (const length of [0, 1, 2, 3, 4]) {
    const archive = writeCpio([{ kind: 'file', path: 'f', permissions: 0o644, data: new Uint8Array(length) }]);
    assert.equal(archive.length % 4, 0);
  }
});

test('paths must be relative, short and ASCII', () => {
  for (const path of ['/etc', '', 'a\0b', 'ä', 'x'.repeat(4096)]) {
    assert.throws(() => writeCpio([{ kind: 'directory', path, permissions: 0o755 }]), UserError, path);
  }
});

const hasCpio = spawnSync('cpio', ['--version']).status === 0;

test('GNU cpio lists what was written', { skip: hasCpio ? false : 'cpio is not installed' }, () => {
  const listing = spawnSync('cpio', ['-tv', '--quiet', '--numeric-uid-gid'], {
    input: writeCpio(ENTRIES),
    encoding: 'utf8',
  });
  assert.equal(listing.stderr, '');
  const lines = listing.stdout.trimEnd().split('\n');
  assert.equal(lines.length, ENTRIES.length);
  assert.match(lines[0], /^drwxr-xr-x +2 0 +0 .* bin$/);
  assert.match(lines[1], /^-rwxr-xr-x +1 0 +0 +3 .* bin\/hello$/);
  assert.match(lines[2], /^lrwxrwxrwx .* bin\/greet -> hello$/);
  assert.match(lines[3], /^crw------- .* 5, +1 .* console$/);
});

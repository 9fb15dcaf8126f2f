import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { UsageError } from './options.ts';
import { parseShares } from './share-option.ts';

test('folders, tags, settings', () => {
  assert.deepEqual(parseShares(['src', '/a/b:home,readonly', 'x,,y:z,security_model=mapped-file', '/c']), [
    { folder: resolve('src'), tag: 'share', readOnly: false, security: 'none' },
    { folder: '/a/b', tag: 'home', readOnly: true, security: 'none' },
    { folder: resolve('x,y'), tag: 'z', readOnly: false, security: 'mapped-file' },
    { folder: '/c', tag: 'share3', readOnly: false, security: 'none' },
  ]);
});

test('what is wrong is named', () => {
  const cases: readonly [text: string, message: RegExp][] = [
    ['', /--share : the folder comes first/],
    ['/a,readnoly', /unknown setting "readnoly"; did you mean readonly/],
    ['/a,security_model=passthrough', /no security model passthrough, only none, mapped-xattr, mapped-file/],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseShares([text]),
      (error) => error instanceof UsageError && message.test(error.message),
    );
  }
});

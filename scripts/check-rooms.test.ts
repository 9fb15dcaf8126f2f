import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultsOfFile, faultsOfReferences, importsOf, ROOMS } from './check-rooms.ts';

test('an import is found however it is written', () => {
  const source = `
    import { a } from './a.ts';
    import type {
      B,
    } from "./b.ts";
    import './c.ts';
    export * from './d.ts';
    const e = await import('./e.ts');
    export const name = 'from';
    export type Kind = 'x' | 'y';
    // import { f } from './f.ts';
    /* import './g.ts'; */
  `;
  assert.deepEqual(importsOf(source), ['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts']);
});

test('a room reaches a lower room through its index', () => {
  assert.deepEqual(faultsOfFile('src/hw/bus/bus.ts', "import '../../contract/index.ts'; import './widths.ts';"), []);
});

test('a room does not reach past an index', () => {
  assert.match(
    faultsOfFile('src/hw/bus/bus.ts', "import '../../base/bits.ts';")[0],
    /reaches past src\/base\/index.ts/,
  );
});

test('hw, block and net do not import each other', () => {
  assert.match(faultsOfFile('src/hw/virtio.ts', "import '../block/index.ts';")[0], /hw may not import room block/);
});

test('arrows do not point up', () => {
  assert.match(faultsOfFile('src/base/x.ts', "export * from '../cli/index.ts';")[0], /base may not import room cli/);
  const rooms = Object.keys(ROOMS);
  for (const [room, { imports }] of Object.entries(ROOMS)) {
    for (const lower of imports)
      assert.ok(rooms.includes(lower) && ROOMS[lower].imports.includes(room) === false, room);
  }
});

test('a pure room uses Node in its tests only', () => {
  assert.match(faultsOfFile('src/net/tcp.ts', "import 'node:net';")[0], /runs without Node/);
  assert.match(faultsOfFile('src/net/tcp.ts', "import 'ws';")[0], /uses no packages/);
  assert.deepEqual(faultsOfFile('src/net/tcp.test.ts', "import 'node:test'; import '../host/node/index.ts';"), []);
  assert.match(faultsOfFile('src/net/tcp.ts', "import '../host/node/index.ts';")[0], /may not import room host/);
  assert.deepEqual(faultsOfFile('src/host/node/files.ts', "import 'node:fs';"), []);
});

test('a new room must enter the table', () => {
  assert.match(faultsOfFile('src/extra/x.ts', '')[0], /is in no room/);
});

test('references agree with the table', () => {
  assert.deepEqual(faultsOfReferences('accel', ['base', 'target']), []);
  assert.match(faultsOfReferences('target', ['accel'])[0], /may not refer to room accel/);
});

/** Random messages, well and badly made, on a folder of the real host: every one is answered, and nothing outside changes. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSharedFolder } from '../../../host/node/index.ts';
import { seededRandom } from '../../testing/device-state-suite.test.ts';
import { Client, encodeMessage, joined } from '../testing/9p-client.ts';
import type { Fields } from './codec.ts';
import { COMMON, LINUX, NO_FID, UNIX } from './messages.ts';
import { SECURITY_MODELS } from './security.ts';
import { securityModel } from './security-mapped.ts';
import { Session } from './session.ts';

const skip = process.platform === 'linux' ? false : 'shared folders need Linux';
const STEPS = Number(process.env.VIREO_FUZZ_STEPS ?? 4000);
const NAMES = ['a', 'b', 'c', 'link', '..', '.', '', 'x/y', '../secret', '\0', '.virtfs_metadata', 'n'.repeat(300)];
const FIDS = 8;

for (const security of SECURITY_MODELS) {
  for (const version of ['9P2000.L', '9P2000.u'] as const) {
    test(`random messages: ${security}, ${version}`, { skip }, async (context) => {
      const { seed, random } = seededRandom();
      const outside = mkdtempSync(join(tmpdir(), 'vireo-test-'));
      const folder = join(outside, 'shared');
      mkdirSync(folder);
      writeFileSync(join(outside, 'secret'), 'secret');
      symlinkSync('..', join(folder, 'link'));
      const root = openSharedFolder(folder);
      const session = new Session({ root, readOnly: false, security: securityModel(security) });
      context.after(() => {
        session.reset();
        root.close();
        rmSync(outside, { recursive: true });
      });
      const below = (limit: number) => Math.floor(random() * limit);
      const values: Record<string, () => unknown> = {
        u8: () => below(4),
        u16: () => below(0x1_0000),
        u32: () => (random() < 0.8 ? below(FIDS) : random() < 0.5 ? below(0x1_0000) : below(2 ** 32)),
        u64: () => BigInt(random() < 0.9 ? below(5000) : below(2 ** 53)),
        string: () => NAMES[below(random() < 0.8 ? 4 : NAMES.length)],
        names: () => Array.from({ length: below(4) }, () => NAMES[below(random() < 0.8 ? 4 : NAMES.length)]),
        data: () => new Uint8Array(below(200)),
        shortData: () => new Uint8Array(below(100)).fill(random() < 0.5 ? 0xff : 0),
      };
      const { version: _, ...common } = COMMON;
      const messages = Object.values({ ...common, ...(version === '9P2000.L' ? LINUX : UNIX) });
      const randomFields = (fields: Fields) =>
        Object.fromEntries(Object.entries(fields).map(([name, type]) => [name, values[type]()]));
      try {
        const client = new Client(session, version, 8192);
        const user = { authFid: NO_FID, userName: '', tree: '' };
        client.send('attach', { fid: 0, uid: 0, ...user });
        for (let step = 0; step < STEPS; step++) {
          const { type, request } = messages[below(messages.length)];
          const body = randomFields(request);
          if (type === COMMON.attach.type && random() < 0.9) Object.assign(body, user);
          const message = encodeMessage(type, request, body as never, below(4));
          if (random() < 0.05) message[7 + below(Math.max(1, message.length - 7))] = below(256);
          const cut = random() < 0.02 ? message.subarray(0, 7 + below(message.length - 6)) : message;
          const answer = joined(await session.answer(cut));
          const view = new DataView(answer.buffer, answer.byteOffset, answer.length);
          assert.equal(view.getUint32(0, true), answer.length);
          assert.ok(answer.length <= 8192);
        }
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
      assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), 'secret');
      assert.deepEqual(readdirSync(outside).sort(), ['secret', 'shared']);
      session.reset();
      assert.equal(session.tree.handles.held, 1);
    });
  }
}

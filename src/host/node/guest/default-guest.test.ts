import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { UserError } from '../../../base/index.ts';
import { defaultGuest } from './default-guest.ts';
import { modulesOf } from './modules.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** What the made-up packages hold; a .deb is its package's name. */
const SHOW: Record<string, string> = {
  'linux-image-cloud-amd64': 'Depends: linux-image-6.1.0-1-cloud-amd64 (= 6.1-1)',
  'linux-image-6.1.0-1-cloud-amd64': 'Depends: kmod, linux-base (>= 4.3~)',
  'busybox-static': 'Installed-Size: 1',
};

/** Made-up apt programs in a folder of their own, and an empty cache. */
async function setUp(context: TestContext, update = 'exit 0') {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const programs = join(folder, 'bin');
  await mkdir(programs);
  for (const [name, field] of Object.entries(SHOW)) {
    const paragraph = `Package: ${name}\nVersion: 6.1-1\n${field}\nSHA256: ${sha256(name)}\n`;
    await writeFile(join(folder, name), paragraph);
  }
  const scripts: Record<string, string> = {
    'apt-get': `echo "$*" >> '${folder}/calls'
      case "$*" in
        *' update') ${update};;
        *' download '*) for last; do :; done; name=\${last%%=*}; printf %s "$name" > "\${name}_6.1-1_amd64.deb";;
      esac`,
    'apt-cache': `for last; do :; done; cat "${folder}/$last"`,
    'dpkg-deb': `mkdir -p "$3/boot" "$3/bin"
      case "$2" in
        *linux-image*)
          printf kernel > "$3/boot/vmlinuz-6.1.0-1-cloud-amd64"
          mkdir -p "$3/lib/modules/6.1/kernel"
          for name in ${modulesOf('cloud').join(' ')}; do printf "module $name" > "$3/lib/modules/6.1/kernel/$name.ko"; done;;
        *) printf busybox > "$3/bin/busybox";;
      esac`,
  };
  for (const [name, script] of Object.entries(scripts)) {
    await writeFile(join(programs, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(programs, name), 0o755);
  }
  const environment = { PATH: `${programs}:/usr/bin:/bin`, XDG_CACHE_HOME: join(folder, 'cache') };
  return { folder, programs, environment, cache: join(folder, 'cache', 'vireo') };
}

test('fetched at first, then from the cache without apt and without a word', async (context) => {
  const { environment, cache } = await setUp(context);
  const steps: string[] = [];
  const first = await defaultGuest({ environment, onProgress: (step) => steps.push(step) });
  assert.equal(Buffer.from(first.kernel).toString(), 'kernel');
  for (const content of ['busybox', 'module virtio_blk']) assert.ok(Buffer.from(first.initramfs).includes(content));
  assert.equal(steps.length, 3);
  assert.deepEqual(await readdir(cache), ['guest-debian-cloud-amd64']);

  const offline = { ...environment, PATH: '' };
  const second = await defaultGuest({ environment: offline, onProgress: (step) => assert.fail(step) });
  assert.deepEqual(second, first);
});

test("apt's state is its own", async (context) => {
  const { environment, folder, cache } = await setUp(context);
  await defaultGuest({ environment });
  const calls = (await readFile(join(folder, 'calls'), 'utf8')).trimEnd().split('\n');
  assert.equal(calls.length, 3);
  for (const call of calls) {
    for (const name of ['Dir::State', 'Dir::State::status', 'Dir::Cache', 'Dir::Log']) {
      assert.ok(call.includes(`-o ${name}=${cache}/tmp-`), `${name} in: ${call}`);
    }
  }
});

test('runs at once do not disturb each other', async (context) => {
  const { environment, cache } = await setUp(context);
  const guests = await Promise.all(Array.from({ length: 4 }, () => defaultGuest({ environment })));
  for (const guest of guests) assert.deepEqual(guest, guests[0]);
  assert.deepEqual(await readdir(cache), ['guest-debian-cloud-amd64']);
});

test('a damaged cache is fetched again', async (context) => {
  const { environment, cache } = await setUp(context);
  const first = await defaultGuest({ environment });
  const path = join(cache, 'guest-debian-cloud-amd64', 'vmlinuz');
  await writeFile(path, 'kernem');
  assert.deepEqual(await defaultGuest({ environment }), first);
  assert.equal(await readFile(path, 'utf8'), 'kernel');
});

async function messageOf(environment: NodeJS.ProcessEnv): Promise<string> {
  const error = await defaultGuest({ environment }).then(
    () => assert.fail('there should be no guest'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof UserError);
  assert.match(error.message, /^cannot get the default guest: [^\n]*; boot your own with --kernel FILE --initrd FILE$/);
  return error.message;
}

test('no apt', async (context) => {
  const { environment } = await setUp(context);
  assert.match(await messageOf({ ...environment, PATH: '' }), /this system has no apt-get/);
});

test('no network: apt-get succeeds with warnings and empty lists', async (context) => {
  const { environment, programs, cache } = await setUp(
    context,
    "echo 'W: Failed to fetch http://x  Could not resolve' >&2",
  );
  await writeFile(join(programs, 'apt-cache'), '#!/bin/sh\nexit 100\n');
  assert.match(await messageOf(environment), /Failed to fetch http:\/\/x {2}Could not resolve;/);
  assert.deepEqual(await readdir(cache), []);
});

test('a system whose sources are not Debian', async (context) => {
  const { environment, programs } = await setUp(context);
  await writeFile(join(programs, 'apt-cache'), '#!/bin/sh\nexit 100\n');
  assert.match(await messageOf(environment), /no package linux-image-cloud-amd64/);
});

test('a package that is not what the lists say', async (context) => {
  const { environment, folder } = await setUp(context);
  const path = join(folder, 'busybox-static');
  await writeFile(path, (await readFile(path, 'utf8')).replace(sha256('busybox-static'), sha256('other')));
  assert.match(await messageOf(environment), /busybox-static_6.1-1_amd64.deb is not what apt's lists say/);
});

test('a cache folder that cannot be made', async (context) => {
  const { environment, folder } = await setUp(context);
  await writeFile(join(folder, 'file'), '');
  assert.match(await messageOf({ ...environment, XDG_CACHE_HOME: join(folder, 'file') }), /ENOTDIR/);
});

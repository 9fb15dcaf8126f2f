/** A folder of the host's in a real guest: Debian's git and make work in it, by Linux's own 9P client. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { exec } from '../../src/cli/exec.ts';
import { ENTER_TOOLS } from './debian.ts';
import { skip, toolsShare } from './tools.ts';

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

async function folder(context: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

const MAKEFILE = `
sources := $(wildcard part-*.txt)
all: whole.txt
\tgrep -c . whole.txt > count
%.up: %.txt
\ttr a-z A-Z < $< > $@
whole.txt: $(sources:.txt=.up)
\tcat $^ > $@
`;
const PARTS = 40;

test('git clones into the folder, make builds in it, and the host sees the same', { skip }, async (context) => {
  const work = await folder(context);
  const source = join(work, 'source');
  await mkdir(source);
  await writeFile(join(source, 'Makefile'), MAKEFILE);
  for (let part = 0; part < PARTS; part++) {
    await writeFile(join(source, `part-${part}.txt`), `line one of part ${part}\nline two\n`.repeat(50));
  }
  const script = `${ENTER_TOOLS}
    mount -o bind /mnt/work /t/work
    chroot /t bash -ec '
      export HOME=/root; cd /work/source
      git config --global user.name Vireo; git config --global user.email vireo@example.org
      git config --global --add safe.directory "*"
      git init -q; git add .; git commit -qm first
      cd /work; git clone -q source clone; cd clone; make -s -j2; cat count; git status --short | wc -l
      echo no > /etc/passwd || echo read-only
      git log --oneline | wc -l; git fsck --full >/dev/null 2>&1; rm *.up; ls | wc -l'`;
  const shares = [toolsShare, { folder: work, tag: 'work' }];
  const { stdout, stderr, exitCode } = await exec(script, { shares });
  assert.equal(text(stdout), `${PARTS * 100}\n${PARTS + 2}\nread-only\n1\n${PARTS + 3}\n`, text(stderr));
  assert.equal(exitCode, 0, text(stderr));
  const whole = await readFile(join(work, 'clone', 'whole.txt'), 'utf8');
  assert.equal(whole.match(/LINE TWO/g)?.length, PARTS * 50);
  assert.equal((await readdir(join(work, 'clone'))).length, PARTS + 4); // and .git
});

test('models that keep marks, 9P2000.u, and a share that is read-only', { skip }, async (context) => {
  const [file, xattr, plain] = [await folder(context), await folder(context), await folder(context)];
  await writeFile(join(plain, 'there'), 'content\n');
  const script = `
    for tag in file xattr; do
      cd /mnt/$tag && mkdir d && echo x > d/f && chown 12:34 d/f && chmod 4711 d/f && ln -s f d/l && mknod d/n c 1 3
      cd /; umount /mnt/$tag; mount -t 9p -o trans=virtio,version=9p2000.L $tag /mnt/$tag; cd /mnt/$tag
      stat -c '%n %F %a %u %g' d/f d/l d/n; echo lost > d/n; cat d/l; rm -r d; ls -A
    done
    cd /; umount /mnt/plain; mount -t 9p -o trans=virtio,version=9p2000.u,cache=none plain /mnt/plain; cd /mnt/plain
    cat there; mkdir d; seq 1 5000 > d/f; ln -s f d/l; ls -1 d; mv d/f d/g; tail -1 d/g; rm d/l; chmod 600 d/g
    stat -c '%a %s' d/g`;
  const shares = [
    { folder: file, tag: 'file', security: 'mapped-file' },
    { folder: xattr, tag: 'xattr', security: 'mapped-xattr' },
    { folder: plain, tag: 'plain' },
  ] as const;
  const { stdout, stderr } = await exec(script, { shares });
  if (/not supported/i.test(text(stderr))) return context.skip('no extended attributes in this temporary folder');
  const marks = 'd/f regular file 4711 12 34\nd/l symbolic link 777 0 0\nd/n character special file 644 0 0\nx\n';
  assert.equal(text(stdout), `${marks}${marks}content\nf\nl\n5000\n600 23893\n`, text(stderr));
  assert.deepEqual(await readdir(xattr), []);
});

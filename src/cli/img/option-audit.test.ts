/** Every option that the installed qemu-img and qemu-nbd name is known here, or refused by its name. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openSides, skipWithoutQemu } from './testing/sides.ts';

const sides = skipWithoutQemu === false ? openSides() : undefined;

/** Rows like `  check [-q] [-f fmt] [--output=ofmt] filename`: each option with a value if it takes one. */
function optionsOf(row: string): { option: string; value: string }[] {
  return [...row.matchAll(/(?<=[[(| ])(--?[A-Za-z][a-z-]*)(=| )?(\w*)/g)].map(([, option, separator, word]) => ({
    option,
    value: word === '' || separator === undefined ? '' : '1',
  }));
}

test('vireo-img takes every option that qemu-img --help names', { skip: skipWithoutQemu }, async () => {
  const { stdout } = spawnSync('qemu-img', ['--help'], { encoding: 'utf8' });
  const [, syntax] = /Command syntax:\n(.*?)\n\n/s.exec(stdout)!;
  const rows = syntax.split('\n').map((row) => row.trim());
  const found: string[] = [];
  for (const row of rows) {
    const [command, ...rest] = row.split(' ');
    for (const { option, value } of optionsOf(rest.join(' '))) {
      const { stderr } = await sides!.ours(`${command} ${option}${value === '' ? '' : ` ${value}`}`);
      if (/invalid option|unrecognized option/i.test(stderr)) found.push(`${command} ${option}: ${stderr.trim()}`);
    }
  }
  assert.ok(rows.length >= 15, stdout);
  assert.deepEqual(found, []);
});

const PROGRAM = fileURLToPath(new URL('../nbd/main.ts', import.meta.url));
/** The kernel's own client, and what names who may connect or trace. */
const REFUSED = ['--connect', '--disconnect', '--tls-authz', '--trace', '--selinux-label'];

test('vireo-nbd takes every option that qemu-nbd --help names, or refuses it by name', {
  skip: spawnSync('qemu-nbd', ['--version']).status === 0 ? false : 'qemu-nbd is not installed',
}, () => {
  const { stdout } = spawnSync('qemu-nbd', ['--help'], { encoding: 'utf8' });
  const ours = spawnSync(process.execPath, [PROGRAM, '--help'], { encoding: 'utf8' }).stdout;
  const rows = [...stdout.matchAll(/^ +(?:(-\w), )?(--[a-z-]+)/gm)];
  assert.ok(rows.length >= 30, stdout);
  const missing = rows.map(([, , long]) => long).filter((long) => !ours.includes(long));
  assert.deepEqual(
    missing.filter((long) => !REFUSED.includes(long)),
    [],
  );
  for (const long of missing) {
    const { status, stderr } = spawnSync(process.execPath, [PROGRAM, `${long}=x`, 'none'], { encoding: 'utf8' });
    assert.equal(status, 1, long);
    assert.match(stderr, new RegExp(`^vireo-nbd: [^\\n]*${long}[^\\n]*\\n$`));
  }
});

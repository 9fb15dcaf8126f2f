import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Handler, renderProfile, Section } from './profile-samples.ts';

const add: Handler = { name: 'ADD', kind: 'case' };
const jump: Handler = { name: 'JZ', kind: 'call' };

test('shares of each section, and of all with the same weight', () => {
  const [long, short] = [new Section('long'), new Section('short')];
  for (let i = 0; i < 30; i += 1) long.add([add, add, jump]);
  short.add([jump]);
  const text = renderProfile([long, short, new Section('empty')]);
  assert.match(
    text,
    /^long: 30 samples, 3\.0 instructions to a taken branch\n {2}66\.67 % {2}case {3}ADD\n {2}33\.33 % {2}call {3}JZ\n/,
  );
  assert.match(text, /^all 2 sections.*\n {2}66\.67 % {2}call {3}JZ\n {2}33\.33 % {2}case {3}ADD\n/m);
  assert.match(text, /^instructions that follow each other\n {2}16\.67 % {2}ADD \+ ADD\n {2}16\.67 % {2}ADD \+ JZ\n/m);
  assert.ok(!text.includes('empty'));
});

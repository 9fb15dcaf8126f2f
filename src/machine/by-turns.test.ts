import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunExit, Vcpu } from '../contract/index.ts';
import { byTurns } from './by-turns.ts';

/** vCPUs that leave as the script says, and how they were run. */
function vcpus(...scripts: readonly (readonly RunExit['kind'][])[]) {
  const ran: number[] = [];
  const selected: number[] = [];
  const members = scripts.map((script, index) => {
    const left = [...script];
    const run = (): RunExit => {
      ran.push(index);
      assert.equal(selected.at(-1), index);
      const kind = left.shift() ?? 'halt';
      return kind === 'shutdown' ? { kind, reason: 'over' } : { kind };
    };
    return { run, haltedForever: false, isWaitingForStartup: index > 0 } as unknown as Vcpu;
  });
  return { ran, members, all: byTurns(members, (index) => selected.push(index)) };
}

test('each that has something to do gets a slice in its turn', () => {
  const { ran, all } = vcpus(['slice', 'slice'], ['slice'], ['slice', 'slice']);
  for (let i = 0; i < 5; i++) assert.equal(all.run(1000).kind, 'slice');
  assert.deepEqual(ran, [0, 1, 2, 0, 1, 2]);
});

test('they sleep when all sleep, and not before one that was woken meanwhile had its turn', () => {
  const { ran, members, all } = vcpus(['halt', 'slice'], ['halt']);
  const run = members[1].run.bind(members[1]);
  members[1].run = (nanos) => {
    if (ran.length === 1) all.signalled();
    return run(nanos);
  };
  assert.equal(all.run(1000).kind, 'slice');
  assert.equal(all.run(1000).kind, 'slice');
  assert.deepEqual(ran, [0, 1, 0]);
  assert.equal(all.run(1000).kind, 'halt');
});

test('one that crashes ends the turn', () => {
  const { all } = vcpus(['halt'], ['shutdown']);
  assert.deepEqual(all.run(1000), { kind: 'shutdown', reason: 'over' });
});

test('nothing wakes them when the first sleeps for ever and the others were never started', () => {
  const { members, all } = vcpus([], []);
  assert.equal(all.haltedForever, false);
  Object.assign(members[0], { haltedForever: true });
  assert.equal(all.haltedForever, true);
});

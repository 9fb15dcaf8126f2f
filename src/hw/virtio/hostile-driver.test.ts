/** Every device that answers by itself, with a driver that sends what it likes: nothing throws, and a reset heals. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Device } from '../../contract/index.ts';
import { seededRandom } from '../testing/device-state-suite.test.ts';
import { FakeDisk } from '../testing/fake-disk.ts';
import { FakeCharPort } from '../testing/fakes.ts';
import { virtioBalloon } from './balloon.ts';
import { virtioBlk } from './blk/blk.ts';
import { virtioConsole } from './console.ts';
import type { VirtioDevice } from './device.ts';
import { INPUT_EVENT, virtioInput } from './input.ts';
import { virtioRng } from './rng.ts';
import { virtioScsi } from './scsi/scsi.ts';
import type { MockDriver } from './testing/driver.ts';
import { rig, type TransportName } from './testing/rig.ts';

const DISK_BYTES = 2 ** 16;
const MEMORY_BYTES = 4 * 2 ** 20;
/** VIREO_LONG=1 makes it fifty times as much. */
const ROUNDS = process.env.VIREO_LONG ? 2000 : 40;
const STEPS = 30;

type Below = (limit: number) => number;

/** A device, how many queues it has, and what the host does to it meanwhile. */
interface Subject {
  readonly device: VirtioDevice;
  readonly queueCount: number;
  /** First bytes of messages that mean something. */
  readonly starts: readonly (readonly number[])[];
  /** What a request needs at least to be answered; most have it. */
  readonly fewestBytes?: { readonly readable: number; readonly writable: number };
  meanwhile?(below: Below): void;
  /** Resolves when nothing is in flight. */
  settled?(): Promise<void>;
  /** Looks at what must hold whatever the driver did. */
  check?(): void;
}

const SUBJECTS: Readonly<Record<string, () => Subject>> = {
  blk: () => {
    const disk = new FakeDisk(DISK_BYTES, { immediate: true });
    const device = virtioBlk({ name: 'blk0', node: disk.node, serial: 'S' });
    const types = [0, 1, 4, 8, 11, 13, 77].map((type) => [type, 0, 0, 0, 0, 0, 0, 0]);
    const settled = () => device.idle();
    return { device, queueCount: 1, starts: types, settled, check: () => assert.equal(disk.bytes.length, DISK_BYTES) };
  },
  scsi: () => {
    const units = ['disk', 'cdrom'].map((kind) => {
      const { node } = new FakeDisk(DISK_BYTES, { immediate: true, plain: kind === 'cdrom' });
      return { kind: kind as 'disk' | 'cdrom', node, serial: kind };
    });
    const lun = (target: number) => [1, target, 0x40, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0];
    const starts = [0x00, 0x08, 0x0a, 0x12, 0x28, 0x2a, 0x42, 0x43, 0x5a, 0x88, 0x93, 0x9e, 0xa0].flatMap((operation) =>
      [0, 1, 2].map((target) => [...lun(target), operation]),
    );
    const device = virtioScsi({ name: 'scsi0', units });
    const settled = () => device.idle();
    return {
      device,
      queueCount: 3,
      starts: [...starts, [0, 0, 0, 0], [1, 0, 0, 0]],
      fewestBytes: { readable: 51, writable: 108 },
      settled,
    };
  },
  console: () => {
    const outside = [new FakeCharPort(), new FakeCharPort()];
    const ports = [
      { port: outside[0], isConsole: true },
      { port: outside[1], name: 'agent' },
    ];
    const device = virtioConsole({ name: 'console0', ports });
    const starts = [0, 1, 3, 6].flatMap((event) => [0, 1, 5].map((port) => [port, 0, 0, 0, event, 0, 1, 0]));
    const meanwhile = (below: Below) => {
      outside[below(2)].offer(...new Uint8Array(below(50)));
      device.resize(below(300), below(300));
    };
    return { device, queueCount: 6, starts, meanwhile };
  },
  rng: () => ({
    device: virtioRng({ name: 'rng0', fillRandom: (target) => void target.fill(4) }),
    queueCount: 1,
    starts: [],
  }),
  balloon: () => {
    const given: [number, number][] = [];
    const device = virtioBalloon({
      name: 'balloon0',
      giveUp: (base, length) => given.push([base, length]),
      freePageHints: true,
      freePageReporting: true,
    });
    // Page numbers inside of the guest's memory and outside, which whoever gives memory up knows.
    const starts = [
      [7, 0, 0, 0],
      [0, 4, 0, 0, 1, 4, 0, 0],
      [255, 255, 255, 255],
      [5, 0, 255, 0, 0, 0, 0, 0],
    ];
    const isPages = ([base, length]: readonly [number, number]) => base >= 0 && length > 0 && base % 4096 === 0;
    return {
      device,
      queueCount: 5,
      starts,
      meanwhile: (below) => device.setTarget(below(MEMORY_BYTES)),
      check: () => assert.ok(given.every(isPages)),
    };
  },
  input: () => {
    const device = virtioInput({
      name: 'keyboard0',
      title: 'A',
      codes: { [INPUT_EVENT.key]: [30, 31], [INPUT_EVENT.led]: [0] },
    });
    const starts = [
      [0x11, 0, 0, 0, 1, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0],
      [255, 255, 1],
    ];
    return {
      device,
      queueCount: 2,
      starts,
      meanwhile: (below) => void device.send([{ type: INPUT_EVENT.key, code: 30 + below(3), value: below(2) }]),
    };
  },
};

/** Sends and writes to registers; what comes back is taken now and then. Returns how much that was. */
async function misbehave(driver: MockDriver, subject: Subject, below: Below): Promise<number> {
  let answers = 0;
  const { transport, queues } = driver;
  const bytes = (length: number) => Uint8Array.from({ length }, () => below(below(2) ? 256 : 4));
  const message = () => {
    const start = subject.starts.length > 0 && below(4) > 0 ? subject.starts[below(subject.starts.length)] : [];
    const least = below(20) > 0 ? (subject.fewestBytes?.readable ?? 0) : 0;
    return Uint8Array.of(...start, ...bytes(Math.max(below(48), least - start.length)), below(256));
  };
  for (let step = 0; step < STEPS && !driver.needsReset; step++) {
    const queue = queues[below(queues.length)];
    const action = below(10);
    if (action < 6 && queue.outstanding < 3) {
      const readable = Array.from({ length: below(3) }, message);
      const least = below(20) > 0 ? (subject.fewestBytes?.writable ?? 1) : 1;
      const fewest = readable.length === 0 || below(20) > 0 ? 1 : 0;
      const writable = Array.from({ length: fewest + below(2) }, () => least + below(700));
      queue.send(readable, writable);
    } else if (action === 6 && subject.device.config().length > 0) transport.writeConfig(below(12), 1, below(256));
    else if (action === 7) subject.meanwhile?.(below);
    else if (action === 8) answers += queue.collect().length;
    else await setImmediate();
  }
  return answers;
}

for (const [name, make] of Object.entries(SUBJECTS)) {
  test(`${name}: whatever a driver sends, nothing throws, and after a reset all is well`, async () => {
    const { seed, random } = seededRandom();
    const below = (limit: number) => Math.floor(random() * limit);
    let answers = 0;
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const subject = make();
        const transport: TransportName = round % 3 === 0 ? 'mmio' : 'pci';
        const made = rig(subject.device, transport);
        const features = subject.device.features.filter(() => below(2) === 1);
        const options = { features, indirect: false };
        answers += await misbehave(made.driver(options).start(subject.queueCount), subject, below);
        await subject.settled?.();
        subject.check?.();
        restoreTwice(made.parts);
        const healed = made.driver({ features: [], memoryBase: 0x20_0000 }).start(1);
        await setImmediate();
        assert.equal(healed.needsReset, false);
        assert.equal(made.transport.readStatus() & 0x40, 0);
      }
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    assert.ok(answers > ROUNDS / 4, `only ${answers} answers in ${ROUNDS} rounds`);
  });
}

/** What a hostile driver made of a device can be saved and loaded again. */
function restoreTwice(parts: readonly Device[]): void {
  for (const part of parts) part.restore(part.snapshot());
}

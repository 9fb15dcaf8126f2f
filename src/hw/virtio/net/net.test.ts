/** The network device as a driver meets it: VIRTIO 1.2, section 5.1. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../testing/device-state-suite.test.ts';
import { FEATURE } from '../constants.ts';
import type { DriverOptions } from '../testing/driver.ts';
import { FakeLink } from '../testing/fake-link.ts';
import { rig } from '../testing/rig.ts';
import { NET_FEATURE as F } from './features.ts';
import { flowOf } from './flows.ts';
import { virtioNet } from './net.ts';

const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);

function setUp(features: readonly number[] = [], pairs = 1, options: DriverOptions = {}) {
  const link = new FakeLink();
  const device = virtioNet({ name: 'net0', link, mac: MAC, pairs, mtu: 1400 });
  const made = rig(device);
  const driver = made.driver({ ...options, features }).start(2 * pairs + 1);
  const controlQueue = driver.queues[2 * pairs];
  const command = (...bytes: number[]) => {
    controlQueue.send([Uint8Array.from(bytes)], [1]);
    return controlQueue.collect()[0].data[0];
  };
  return { ...made, link, device, driver, rx: driver.queues[0], tx: driver.queues[1], command };
}

function header(fields: { flags?: number; gso?: number; size?: number; start?: number; offset?: number } = {}) {
  const view = new DataView(new ArrayBuffer(12));
  view.setUint8(0, fields.flags ?? 0);
  view.setUint8(1, fields.gso ?? 0);
  view.setUint16(4, fields.size ?? 0, true);
  view.setUint16(6, fields.start ?? 0, true);
  view.setUint16(8, fields.offset ?? 0, true);
  return new Uint8Array(view.buffer);
}

function frame(length: number, to: Uint8Array = MAC): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => i * 3);
  bytes.set(to);
  return bytes;
}

test('a frame goes out, in any pieces', () => {
  const { tx, link } = setUp();
  const bytes = frame(100);
  tx.send([header(), bytes]);
  tx.send([Uint8Array.of(...header(), ...bytes.subarray(0, 10)), bytes.subarray(10)]);
  assert.deepEqual(link.sent, [
    { frame: bytes, unfinished: undefined },
    { frame: bytes, unfinished: undefined },
  ]);
  assert.equal(tx.collect().length, 2);
});

test('what the driver leaves undone goes with the frame; the TCP header says its length', () => {
  const { tx, link } = setUp([F.checksum, F.hostTcp4]);
  const bytes = frame(5000);
  bytes[34 + 12] = 8 << 4;
  tx.send([header({ flags: 1, start: 34, offset: 6 }), bytes]);
  tx.send([header({ flags: 1, gso: 1, size: 1448, start: 34, offset: 16 }), bytes]);
  assert.deepEqual(
    link.sent.map(({ unfinished }) => unfinished),
    [
      { checksumStart: 34, checksumOffset: 6 },
      { checksumStart: 34, checksumOffset: 16, segments: { kind: 'tcp4', payloadBytes: 1448, headerBytes: 66 } },
    ],
  );
});

test('frames that make no sense are lost, and given back', () => {
  const { tx, link, driver } = setUp([F.checksum, F.hostTcp4]);
  const bytes = frame(100);
  const wrong: Uint8Array[][] = [
    [header()],
    [header(), frame(13)],
    [header().subarray(0, 11)],
    [header(), new Uint8Array(66_000)],
    [header({ flags: 1, start: 98, offset: 1 }), bytes],
    [header({ gso: 1, size: 100 }), bytes],
    [header({ flags: 1, gso: 1, size: 0, start: 34, offset: 16 }), bytes],
    [header({ flags: 1, gso: 4, size: 10, start: 34, offset: 16 }), bytes],
    [header({ flags: 1, gso: 1, size: 10, start: 90, offset: 2 }), bytes],
  ];
  for (const readable of wrong) tx.send(readable);
  assert.deepEqual([link.sent, tx.collect().length, driver.needsReset], [[], wrong.length, false]);
});

test('a frame comes in, with its header; without room the link waits', () => {
  const { rx, link, irq } = setUp([F.guestChecksum]);
  const bytes = frame(60);
  assert.equal(link.offer(bytes), false);
  rx.send([], [12, 1500]);
  const [{ data, written }] = rx.collect();
  assert.deepEqual([written, data.subarray(12, 72), data[10], irq.level], [72, bytes, 1, true]);
  rx.add([], [1600]);
  assert.equal(link.offer(bytes, { checksumStart: 34, checksumOffset: 16 }), true);
  assert.deepEqual([...rx.collect()[0].data.subarray(0, 10)], [1, 0, 0, 0, 0, 0, 34, 0, 16, 0]);
});

for (const features of [[], [FEATURE.eventIndex], [FEATURE.ringPacked]]) {
  test(`mergeable buffers: as many as needed, or none and a wait; ring features ${features}`, () => {
    const { rx, link } = setUp([F.mergeableBuffers, ...features]);
    const bytes = frame(1000);
    rx.add([], [400]);
    rx.add([], [400]);
    assert.equal(link.offer(bytes), false);
    assert.equal(rx.collect().length, 0);
    rx.send([], [400]);
    const back = rx.collect();
    assert.deepEqual(
      back.map(({ written }) => written),
      [400, 400, 212],
    );
    const whole = Uint8Array.from(back.flatMap(({ data, written }) => [...data.subarray(0, written)]));
    assert.deepEqual([whole[10], whole.subarray(12)], [3, bytes]);
  });
}

test('offloads towards the guest: what was negotiated, until the driver switches it off', () => {
  const { link, command } = setUp([F.guestChecksum, F.guestTcp4, F.controlQueue, F.controlGuestOffloads]);
  assert.deepEqual({ ...link.receiver?.takes }, { checksum: true, tcp4: true, tcp6: false });
  assert.equal(command(5, 0, 2, 0, 0, 0, 0, 0, 0, 0), 0);
  assert.deepEqual({ ...link.receiver?.takes }, { checksum: true, tcp4: false, tcp6: false });
  assert.equal(command(5, 0, 0, 1, 0, 0, 0, 0, 0, 0), 1);
});

test('5.1.6.5: address, filters and VLANs by command', () => {
  const { link, rx, command, transport } = setUp([F.controlQueue, F.controlReceive, F.controlVlan, F.controlMac]);
  const other = Uint8Array.of(2, 0, 0, 0, 0, 9);
  const multicast = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
  const arrives = (bytes: Uint8Array) => {
    rx.add([], [2000]);
    link.offer(bytes);
    const taken = rx.collect().length === 1;
    if (!taken) {
      command(0, 0, 1);
      link.offer(bytes);
      rx.collect();
      command(0, 0, 0);
    }
    return taken;
  };
  assert.equal(arrives(frame(60, other)), true);
  assert.equal(command(0, 0, 0), 0);
  assert.deepEqual(
    [arrives(frame(60)), arrives(frame(60, other)), arrives(frame(60, multicast))],
    [true, false, false],
  );
  assert.equal(command(1, 0, 1, 0, 0, 0, ...other, 1, 0, 0, 0, ...multicast), 0);
  assert.deepEqual([arrives(frame(60, other)), arrives(frame(60, multicast))], [true, true]);
  assert.equal(command(1, 0, 9, 0, 0, 0, ...other), 1);
  const tagged = frame(60);
  tagged.set([0x81, 0, 0, 7], 12);
  assert.equal(arrives(tagged), false);
  assert.deepEqual([command(2, 0, 7, 0), arrives(tagged), command(2, 1, 7, 0), arrives(tagged)], [0, true, 0, false]);
  assert.deepEqual([command(1, 1, ...other), transport.readConfig(5, 1)], [0, 9]);
  assert.deepEqual([command(99, 0), command(0), command(0, 77, 1), command(2, 0, 0, 0x10)], [1, 1, 1, 1]);
});

test('several queue pairs: an answer comes in where its flow went out', () => {
  const { driver, link, command, transport } = setUp([F.controlQueue, F.multiQueue], 4);
  assert.equal(transport.readConfig(8, 2), 4);
  assert.deepEqual([command(4, 0, 5, 0), command(4, 0, 0, 0), command(4, 0, 4, 0)], [1, 1, 0]);
  const out = frame(60);
  out.set([8, 0, 0x45], 12);
  out[23] = 6;
  out.set([10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4], 26);
  const back = out.slice();
  back.set([10, 0, 0, 2, 10, 0, 0, 1, 3, 4, 1, 2], 26);
  assert.equal(flowOf(out), flowOf(back));
  driver.queues[5].send([header(), out]);
  for (const index of [0, 2, 4, 6]) driver.queues[index].add([], [1600]);
  link.offer(back);
  assert.deepEqual(
    [0, 2, 4, 6].map((index) => driver.queues[index].collect().length),
    [0, 0, 1, 0],
  );
});

test('carrier and announcement are told through the configuration', () => {
  const { link, device, transport, command, mmio } = setUp([F.status, F.controlQueue, F.announce]);
  const isr = () => mmio.read(0xc000_1000, 1);
  assert.deepEqual([transport.readConfig(6, 2), transport.readConfig(10, 2)], [1, 1400]);
  link.receiver?.carrierChanged?.(false);
  assert.deepEqual([transport.readConfig(6, 2), isr()], [0, 2]);
  link.receiver?.carrierChanged?.(true);
  device.announce();
  assert.deepEqual([transport.readConfig(6, 2), command(3, 0), transport.readConfig(6, 2)], [3, 0, 1]);
});

test('without a driver frames are lost, and a reset frees a waiting link', () => {
  const { link, driver } = setUp();
  link.offer(frame(60));
  assert.equal(link.waiting.length, 1);
  driver.transport.writeStatus(0);
  assert.equal(link.waiting.length, 0);
});

test('random frames, headers and commands never throw', () => {
  const { seed, random } = seededRandom();
  const below = (limit: number) => Math.floor(random() * limit);
  const bytes = (length: number) => Uint8Array.from({ length }, () => below(below(2) ? 256 : 9));
  const all = [F.checksum, F.hostTcp4, F.guestChecksum, F.controlQueue, F.controlReceive, F.controlVlan, F.controlMac];
  try {
    for (let round = 0; round < 30; round++) {
      const { tx, rx, link, driver } = setUp(round % 2 ? all : [...all, F.mergeableBuffers]);
      for (let step = 0; step < 60; step++) {
        if (random() < 0.4) tx.send([bytes(1 + below(200))]);
        else if (random() < 0.3) driver.queues[2].send([bytes(1 + below(40))], random() < 0.99 ? [1] : []);
        else if (random() < 0.5) rx.outstanding < 16 && rx.send([], [1 + below(300)]);
        else link.offer(bytes(14 + below(300)));
        for (const queue of driver.queues) queue.collect();
        if (driver.needsReset) break;
      }
    }
  } catch (error) {
    throw new Error(`seed ${seed}`, { cause: error });
  }
});

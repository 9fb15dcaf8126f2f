/** Ports of a virtio console, and virtio keyboards, mice and tablets, by Linux's own drivers. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { Machine } from '../../src/machine/index.ts';
import { runInGuest, tryDefaultGuest } from './guest.ts';

const guest = await tryDefaultGuest();
const skip = typeof guest === 'string' && guest;

const bytesOf = (text: string) => new TextEncoder().encode(text);

/** Lines that a port sends, one by one. */
async function* linesOf({ consolePorts }: Machine, port: number): AsyncGenerator<string> {
  let text = '';
  for await (const bytes of consolePorts[port].readable) {
    text += Buffer.from(bytes).toString();
    const lines = text.split(/\r?\n/);
    text = lines.pop() ?? '';
    yield* lines;
  }
}

test('a console with named ports: both ways, and a hundred thousand bytes', { skip }, async () => {
  const script = `
    port() { for one in /sys/class/virtio-ports/*; do [ "$(cat $one/name)" = $1 ] && echo /dev/$(basename $one); done; }
    cat /sys/class/virtio-ports/*/name | sort | tr '\\n' ' '; echo
    stty -F /dev/hvc0 raw -echo; stty -F /dev/hvc1 raw -echo
    echo "from hvc0" > /dev/hvc0; echo "from hvc1" > /dev/hvc1
    exec 6<>$(port org.vireo.agent)
    echo ready >&6; read -r line <&6; echo "$line"
    head -c 100000 <&6 | sha256sum
    yes sixteen-byte-row | head -c 100000 >&6
    exec 6>&-; exec 6<>$(port other); echo other >&6`;
  const many = bytesOf('0123456789'.repeat(10_000));
  const seen: Promise<unknown>[] = [];
  const { exitCode, stdout, stderr } = await runInGuest(script, {
    machine: {
      console: {
        ports: [
          { isConsole: true },
          { name: 'org.vireo.agent' },
          { isConsole: true, name: 'second' },
          { name: 'other' },
        ],
      },
    },
    onMachine(machine) {
      const first = async (port: number) => (await linesOf(machine, port).next()).value;
      const agent = async () => {
        const writer = machine.consolePorts[1].writable.getWriter();
        const reader = machine.consolePorts[1].readable.getReader();
        let text = '';
        const until = async (length: number) => {
          while (text.length < length) {
            const { value } = await reader.read();
            if (value === undefined) return;
            text += Buffer.from(value).toString('latin1');
          }
        };
        await until(6);
        await writer.write(bytesOf('hello from the host\n'));
        await writer.write(many);
        await until(100_006);
        return text;
      };
      seen.push(first(0), first(2), first(3), agent());
    },
  });
  const sum = createHash('sha256').update(many).digest('hex');
  assert.equal(stdout, `org.vireo.agent other second \nhello from the host\n${sum}  -\n`, stderr);
  assert.equal(exitCode, 0);
  const rows = 'sixteen-byte-row\n'.repeat(6000).slice(0, 100_000);
  assert.deepEqual(await Promise.all(seen), ['from hvc0', 'from hvc1', 'other', `ready\n${rows}`]);
});

const [KEY, RELATIVE, ABSOLUTE] = [1, 2, 3];
/** What is sent to each device, in the order of the configuration. */
const EVENTS = [
  [
    { type: KEY, code: 30, value: 1 },
    { type: KEY, code: 30, value: 0 },
  ],
  [
    { type: ABSOLUTE, code: 0, value: 32_767 },
    { type: ABSOLUTE, code: 1, value: 1234 },
    { type: KEY, code: 0x110, value: 1 },
  ],
  [
    { type: RELATIVE, code: 0, value: -5 },
    { type: RELATIVE, code: 8, value: 1 },
  ],
];

test('a keyboard, a tablet and a mouse', { skip }, async () => {
  const script = `
    device() { for one in /sys/class/input/event*; do grep -q "$1" $one/device/name && echo $one; done; }
    for kind in keyboard tablet mouse; do
      cat $(device $kind)/device/name $(device $kind)/device/capabilities/ev $(device $kind)/device/capabilities/abs
    done
    exec 3<"/dev/input/$(basename $(device keyboard))" 4<"/dev/input/$(basename $(device tablet))"
    exec 5<"/dev/input/$(basename $(device mouse))"
    echo listening > /dev/hvc0
    # Of an event, 16 bytes are the time.
    for handle in 3 4 5; do
      while :; do
        event=$(dd bs=24 count=1 <&$handle 2>/dev/null | tail -c 8 | hexdump -v -e '1/2 "%d " 1/2 "%d " 1/4 "%d"')
        [ "$event" = "0 0 0" ] && break
        echo "$event"
      done
    done`;
  const sent: Promise<unknown>[] = [];
  const { exitCode, stdout, stderr } = await runInGuest(script, {
    machine: {
      console: { ports: [{ isConsole: true }] },
      input: [{ kind: 'keyboard' }, { kind: 'tablet' }, { kind: 'mouse' }],
    },
    onMachine(machine) {
      const send = async () => {
        await linesOf(machine, 0).next();
        return Promise.all(EVENTS.map((events, device) => machine.command('send-input', { device, events })));
      };
      sent.push(send());
    },
  });
  const lines = EVENTS.flat().map(({ type, code, value }) => `${type} ${code} ${value}\n`);
  assert.equal(
    stdout,
    ['Vireo virtio keyboard\n120003\n0\n', 'Vireo virtio tablet\nf\n3\n', 'Vireo virtio mouse\n7\n0\n', ...lines].join(
      '',
    ),
    stderr,
  );
  assert.equal(exitCode, 0, stderr);
  assert.deepEqual(await Promise.all(sent), [[true, true, true]]);
});

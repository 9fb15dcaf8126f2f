import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ABILITIES, configOf } from '../testing/fake-emulator.ts';
import { buildConfig } from './build.ts';
import { parseCommandLine } from './command-line.ts';
import { helpText, optionHelp } from './describe.ts';
import { parseParams } from './opts.ts';
import { optionTable, REFUSED } from './table.ts';

const NOVA = `-name instance-00000074 -S -machine pc -accel kvm -accel tcg -m 2048 -smp 2,sockets=2,cores=1,threads=1
  -uuid f8450270-9d96-4dba-b1c2-8ebcef1ff012 -no-user-config -nodefaults
  -chardev socket,id=charmonitor,path=monitor.sock,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control
  -rtc base=utc,driftfix=slew -no-shutdown
  -drive file=disk.qcow2,if=none,id=drive-virtio-disk0,format=qcow2,cache=none
  -device virtio-blk-pci,bus=pci.0,addr=0x4,drive=drive-virtio-disk0,id=virtio-disk0,bootindex=1
  -netdev user,id=hostnet0 -device virtio-net-pci,netdev=hostnet0,id=net0,mac=fa:16:3e:7b:8b:b6,bus=pci.0,addr=0x3
  -chardev file,id=charserial0,path=console.log -device isa-serial,chardev=charserial0,id=serial0
  -chardev pty,id=charserial1 -device isa-serial,chardev=charserial1,id=serial1
  -device virtio-balloon-pci,id=balloon0,bus=pci.0,addr=0x5 -kernel k`;
const PEOPLE = `-m 1024 -smp 2 -drive file=disk0.raw,if=virtio,index=0,media=disk,format=raw
  -nic user,model=virtio,mac=52:54:00:05:11:11 -device virtio-balloon -nographic -kernel k`;
const words = (text: string) => text.trim().split(/\s+/);

test('a command line of OpenStack Nova', () => {
  const config = configOf(words(NOVA));
  assert.partialDeepStrictEqual(config, {
    name: 'instance-00000074',
    uuid: 'f8450270-9d96-4dba-b1c2-8ebcef1ff012',
    machine: 'pc-i440fx-8.2',
    accelerators: ['kvm', 'tcg'],
    memoryBytes: 2048 * 1024 * 1024,
    smp: { maxCpus: 2, sockets: 2, cores: 1, threads: 1 },
    startPaused: true,
    actions: { powerOff: 'pause' },
    monitors: [{ chardev: 'charmonitor', mode: 'control' }],
    serial: ['charserial0', 'charserial1', undefined, undefined],
    disks: [{ drive: 'drive-virtio-disk0', media: 'disk', device: { id: 'virtio-disk0', slot: 4 } }],
    nics: [{ netdev: 'hostnet0', mac: 'fa:16:3e:7b:8b:b6', device: { id: 'net0', slot: 3 } }],
    balloon: { id: 'balloon0', slot: 5 },
  });
  assert.deepEqual(config.rng, undefined);
  assert.deepEqual(
    config.blockNodes.map(({ nodeName, options }) => [nodeName, Object.fromEntries(options)]),
    [
      [
        '#block100',
        {
          driver: 'qcow2',
          'read-only': 'off',
          'cache.direct': 'on',
          'cache.no-flush': 'off',
          'cache.writeback': 'on',
          'image-name': 'disk.qcow2',
        },
      ],
    ],
  );
});

test('a command line of people: the terminal is shared by the console and the monitor', () => {
  const config = configOf(words(PEOPLE));
  assert.partialDeepStrictEqual(config, {
    memoryBytes: 2 ** 30,
    chardevs: [{ id: 'serial0', backend: { kind: 'stdio' }, mux: true }],
    monitors: [{ chardev: 'serial0', mode: 'readline' }],
    serial: ['serial0', undefined, undefined, undefined],
    nics: [{ mac: '52:54:00:05:11:11' }],
    balloon: { driver: 'virtio-balloon-pci' },
  });
  assert.equal(config.smp.cpus, 2);
});

test("libvirt's probe", () => {
  const config = configOf([
    ...words('-S -no-user-config -nodefaults -nographic -machine none,accel=kvm:tcg'),
    ...words('-qmp unix:/run/qmp.monitor,server=on,wait=off -pidfile /run/qmp.pid -daemonize'),
  ]);
  assert.partialDeepStrictEqual(config, {
    machine: 'none',
    accelerators: ['kvm', 'tcg'],
    daemonize: true,
    pidFile: '/run/qmp.pid',
    chardevs: [
      { backend: { kind: 'socket', address: { kind: 'unix', path: '/run/qmp.monitor' }, server: true, wait: false } },
    ],
    monitors: [{ mode: 'control' }],
  });
  assert.equal(config.chardevs.length, 1);
});

test("what libvirt says in JSON: objects, block nodes, devices, and the monitor's inherited socket", () => {
  const config = configOf([
    ...['-object', '{"qom-type":"memory-backend-ram","id":"pc.ram","size":67108864}', '-m', '64', '-kernel', 'k'],
    ...['-machine', 'pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram', '-accel', 'tcg', '-nodefaults'],
    ...['-chardev', 'socket,id=charmonitor,fd=27,server=on,wait=off', '-mon', 'chardev=charmonitor,mode=control'],
    ...['-blockdev', '{"driver":"file","filename":"/d.qcow2","node-name":"s","auto-read-only":true,"discard":"unmap"}'],
    ...['-blockdev', '{"node-name":"f","read-only":false,"driver":"qcow2","file":"s","backing":null}'],
    ...[
      '-device',
      '{"driver":"virtio-blk-pci","bus":"pcie.0","addr":"0x4","drive":"f","id":"virtio-disk0","bootindex":1}',
    ],
    ...['-netdev', '{"type":"user","id":"hostnet0"}'],
    ...[
      '-device',
      '{"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0","mac":"52:54:00:11:22:33","addr":"0x1"}',
    ],
    ...[
      '-overcommit',
      'mem-lock=off',
      '-boot',
      'strict=on',
      '-msg',
      'timestamp=on',
      '-audiodev',
      '{"id":"a","driver":"none"}',
    ],
  ]);
  assert.partialDeepStrictEqual(config, {
    machine: 'pc-q35-8.2',
    objects: [{ type: 'memory-backend-ram', id: 'pc.ram', properties: { size: 67108864 } }],
    blockNodes: [
      { nodeName: 's' },
      {
        nodeName: 'f',
        options: [
          ['node-name', 'f'],
          ['read-only', 'off'],
          ['driver', 'qcow2'],
          ['file', 's'],
          ['backing', ''],
        ],
      },
    ],
    disks: [{ node: 'f', drive: '', device: { slot: 4 } }],
    chardevs: [{ backend: { address: { kind: 'fd', fd: 27 } } }],
    timestamps: true,
  });
});

test('folders of the host: -virtfs, and -fsdev with its device', () => {
  const config = configOf([
    ...['-kernel', 'k', '-virtfs', 'local,path=/a,mount_tag=one,security_model=mapped,readonly=on'],
    ...['-fsdev', 'local,id=f,path=/b,security_model=none', '-device', 'virtio-9p-pci,fsdev=f,mount_tag=two,addr=0x9'],
  ]);
  assert.partialDeepStrictEqual(config.shares, [
    { folder: '/a', tag: 'one', security: 'mapped-xattr', readOnly: true },
    { folder: '/b', tag: 'two', security: 'none', readOnly: false, device: { slot: 9 } },
  ]);
});

test('disable-legacy: what is not behind an Express port has the legacy interface too, unless it says so', () => {
  const devices = {
    a: 'virtio-net-pci',
    b: 'virtio-net-pci,disable-legacy=on',
    c: 'virtio-net-pci-non-transitional',
    d: 'virtio-net-pci,bus=port',
    e: 'virtio-net-pci,bus=port2,disable-legacy=off',
    f: 'virtio-net-pci-transitional,bus=port3',
    g: 'virtio-net-pci,bus=bridge,addr=0x1',
    h: 'virtio-keyboard-pci',
  };
  const ports = ['port', 'port2', 'port3'].flatMap((id) => ['-device', `pcie-root-port,id=${id}`]);
  const { devices: built } = configOf([
    ...['-kernel', 'k', '-machine', 'q35', ...ports, '-device', 'pci-bridge,id=bridge,chassis_nr=1'],
    ...Object.entries(devices).flatMap(([id, text]) =>
      text.startsWith('virtio-net')
        ? ['-netdev', `user,id=n${id}`, '-device', `${text},netdev=n${id},id=${id}`]
        : ['-device', `${text},id=${id}`],
    ),
  ]);
  const transitional = built.filter(({ virtio }) => virtio === 'transitional').map(({ id }) => id);
  assert.deepEqual(transitional, ['a', 'e', 'f', 'g']);
});

test('keys and values: doubled commas, values without a key, switches without a value', () => {
  assert.deepEqual(parseParams('a,,b,server,nowait,path=x,,y=z', 'file'), [
    ['file', 'a,b'],
    ['server', 'on'],
    ['wait', 'off'],
    ['path', 'x,y=z'],
  ]);
});

const REFUSALS: readonly [string, RegExp][] = [
  ['-nosuch', /^-nosuch: invalid option; -h lists/],
  ['-m', /^-m: requires an argument$/],
  ['-m 1x', /^-m 1x: Parameter 'size' expects a size: .*not '1x'$/],
  ['-m 64,nosuch=1', /^-m 64,nosuch=1: Invalid parameter 'nosuch'$/],
  ['-S', /^-kernel is needed/],
  ['-kernel k -machine nosuch', /^-machine nosuch: unsupported machine type: nosuch; there are pc, q35, none$/],
  ['-kernel k -accel xen', /^-accel xen: invalid accelerator xen: there are kvm and tcg$/],
  [
    '-kernel k -device nosuch',
    /^-device nosuch: 'nosuch' is not a valid device model name; there are virtio-blk-pci, /,
  ],
  ['-kernel k -device virtio-rng,nosuch=1', /: Property 'virtio-rng-pci.nosuch' not found$/],
  ['-kernel k -device virtio-blk-pci,drive=x', /: Property 'virtio-blk-pci.drive' can't find value 'x'$/],
  ['-kernel k -device virtio-rng-pci,addr=0x2.0x1', /only function 0 of a slot/],
  ['-kernel k -device virtio-rng-pci,bus=pci.7', /: Bus 'pci.7' not found: virtio-rng-pci goes on pci.0$/],
  ['-kernel k -vnc :0', /^-vnc :0: ':0' is not supported, only none$/],
  ['-kernel k -bios x', /^-bios: not supported: firmware/],
  ['-kernel k -chardev spicevmc,id=x', /: 'spicevmc' is not a valid char driver name; there are stdio, /],
  ['-kernel k -chardev socket,id=x,port=1,websocket=on', /: websocket is not supported for sockets$/],
  ['-kernel k -mon chardev=no', /^chardev "no" not found$/],
  ['-kernel k -smp 3,cores=2', /^-smp 3,cores=2: Invalid CPU topology: .* != maxcpus \(3\)$/],
  ['-kernel k -smp 256', /^-smp 256: Invalid SMP CPUs 256. The max CPUs supported by machine 'pc-i440fx-8.2' is 255$/],
  ['-kernel k -smp 0', /must be greater than zero$/],
  ['-kernel k -netdev tap,id=x', /: 'tap' is not supported as a network, only user$/],
  ['-kernel k -object nosuch,id=x', /: Parameter 'qom-type' does not accept value 'nosuch': there are iothread, /],
  ['-kernel k -rtc base=localtime', /: base=localtime is not supported, only base=utc$/],
  ['-kernel k -set device.x.y=1', /: there is no device "x" defined$/],
  ['-kernel k -virtfs proxy,mount_tag=x', /: fsdriver proxy is not supported, only local$/],
  ['-kernel k -device virtio-9p,fsdev=no,mount_tag=x', /couldn't find fsdev with the id = no$/],
  ['-kernel k -uuid 1', /^-uuid 1: '1' is not a UUID/],
];

for (const [line, message] of REFUSALS) {
  test(`refused by name: ${line}`, () => assert.throws(() => configOf(words(line)), { name: 'UserError', message }));
}

test('-set and -global change what was given, and -readconfig reads the same from a file', () => {
  const file = '# a comment\n[device "r"]\n  driver = "virtio-rng-pci"\n  addr = "7"\n[memory]\nsize = "96M"\n';
  const line = parseCommandLine(
    words('-kernel k -readconfig file -set device.r.addr=9 -global virtio-rng-pci.rombar=0'),
    () => file,
  );
  const config = buildConfig(line, ABILITIES);
  assert.partialDeepStrictEqual(config, {
    rng: { id: 'r', slot: 9, properties: { rombar: '0' } },
    memoryBytes: 96 * 1024 * 1024,
  });
  assert.throws(() => parseCommandLine(['-readconfig', 'x'], () => 'nonsense'), {
    message: /x:1: expected \[group "id"\]/,
  });
});

test('every option is in the help, none is both known and refused', async () => {
  const text = helpText('program');
  for (const [name, { help }] of Object.entries(optionTable)) {
    assert.ok(text.includes(`-${name}`) && text.includes(help), name);
    assert.ok(!Object.hasOwn(REFUSED, name), name);
  }
  const help = (line: string) => optionHelp(parseCommandLine(words(line), () => '').options, async () => ['max']);
  assert.match((await help('-machine help')) ?? '', /^q35 +Standard PC/m);
  assert.match((await help('-device help')) ?? '', /name "virtio-blk-pci", bus PCI/);
  assert.match((await help('-device virtio-blk,help')) ?? '', /drive=<str> +- the -drive/);
  assert.match((await help('-cpu help')) ?? '', /^ {2}max$/m);
  assert.match((await help('-smp help')) ?? '', /cores=<uint32>/);
  assert.equal(await help('-S'), undefined);
});

test("the host's side of a machine: interrupt controllers and memory", () => {
  const host = (line: string) => {
    const { kernelIrqchip, ram } = configOf(words(`-kernel k ${line}`));
    return { kernelIrqchip, ram };
  };
  assert.deepEqual(host(''), { kernelIrqchip: undefined, ram: undefined });
  assert.deepEqual(host('-machine q35,kernel_irqchip=split,mem-merge=on -overcommit mem-lock=on'), {
    kernelIrqchip: 'split',
    ram: { merge: true, lock: true },
  });
  const backend = 'memory-backend-memfd,id=ram,size=128M,hugetlb=on,prealloc=on,merge=off';
  assert.deepEqual(host(`-object ${backend} -machine q35,memory-backend=ram,mem-merge=on`).ram, {
    backing: 'hugepages',
    merge: false,
    preallocate: true,
  });
  assert.deepEqual(host('-object memory-backend-memfd,id=ram,size=128M -machine memory-backend=ram').ram, {
    backing: 'memfd',
  });
  assert.throws(() => host('-machine kernel_irqchip=half'), {
    message: /kernel_irqchip=half: it can be on, off or split/,
  });
});

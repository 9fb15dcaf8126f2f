/** Every option of the command line: the help, -readconfig, query-command-line-options and the reference page derive from it. */
import type { ParamTable } from './opts.ts';

export interface OptionSpec {
  /** What its value is called in the help; without it the option takes none. */
  readonly value?: string;
  readonly help: string;
  readonly group: OptionGroup;
  /** Other spellings. */
  readonly aliases?: readonly string[];
  /** It has parameters; they may stand in a file for -readconfig under this name, which is the option's unless given. */
  readonly config?: string;
  /** The key of a first value without one. */
  readonly implied?: string;
  /** The parameters; absent: they depend on the kind, and who reads them checks them. */
  readonly params?: ParamTable;
  /** Takes a JSON object too. */
  readonly json?: true;
  /** Several make one: later ones add to earlier ones. */
  readonly merges?: true;
}

export type OptionGroup =
  | 'Machine'
  | 'Boot'
  | 'Disks'
  | 'Networks'
  | 'Lines and monitors'
  | 'Devices'
  | 'Process'
  | 'Help';

const flag = (help: string) => ({ type: 'boolean', help }) as const;
const text = (help: string) => ({ type: 'string', help }) as const;
const number = (help: string) => ({ type: 'number', help }) as const;

export const OPTIONS = {
  machine: {
    value: 'TYPE[,PROPERTY=VALUE...]',
    help: 'the kind of machine; -machine help lists them',
    group: 'Machine',
    aliases: ['M'],
    implied: 'type',
    merges: true,
    params: {
      type: text('pc, q35 or none'),
      accel: text('who executes guest code: kvm or tcg, several with colons between'),
      usb: flag('a USB host: off'),
      'dump-guest-core': flag('memory in core dumps: accepted and without effect'),
      'mem-merge': flag('let the host share equal pages of guests, with KVM'),
      'memory-backend': text('the -object with the memory'),
      hpet: flag('an HPET: off'),
      acpi: text('on'),
      vmport: text('off or auto'),
      smm: text('off or auto'),
      kernel_irqchip: text("interrupt controllers in the host's kernel with KVM: on, split or off"),
      'kernel-irqchip': text('the same'),
      graphics: flag('accepted and without effect, as there is no screen yet'),
      'suppress-vmdesc': flag('accepted and without effect'),
    },
  },
  accel: {
    value: 'NAME[,PROPERTY=VALUE...]',
    help: 'who executes guest code: kvm or tcg; several are tried in order',
    group: 'Machine',
    implied: 'accel',
    params: { accel: text('kvm or tcg'), thread: text('single') },
  },
  'enable-kvm': { help: 'the same as -accel kvm', group: 'Machine' },
  cpu: { value: 'MODEL[,FEATURE...]', help: 'the CPU model; -cpu help lists them', group: 'Machine' },
  smp: {
    value: '[cpus=]N[,maxcpus=N][,sockets=N][,cores=N][,threads=N]',
    help: 'how many CPUs there are, and how they are arranged',
    group: 'Machine',
    config: 'smp-opts',
    implied: 'cpus',
    merges: true,
    params: {
      cpus: number('how many there are at the start'),
      maxcpus: number('how many there may be'),
      sockets: number('chips'),
      dies: number('dies a chip'),
      clusters: number('1'),
      cores: number('cores a die'),
      threads: number('threads a core'),
    },
  },
  m: {
    value: '[size=]SIZE',
    help: "the guest's memory; digits alone are M (default 128M)",
    group: 'Machine',
    config: 'memory',
    implied: 'size',
    merges: true,
    params: {
      size: { type: 'size', unit: 'M', help: 'at the start' },
      slots: number('places for more: 0'),
      maxmem: { type: 'size', unit: 'M', help: 'with all places taken: as size' },
    },
  },
  name: {
    value: '[guest=]NAME[,process=NAME][,debug-threads=on|off]',
    help: "the machine's name",
    group: 'Machine',
    implied: 'guest',
    merges: true,
    params: {
      guest: text('the name'),
      process: text("the process's name: accepted and without effect"),
      'debug-threads': flag('accepted and without effect'),
    },
  },
  uuid: { value: 'UUID', help: "the machine's UUID", group: 'Machine' },
  rtc: {
    value: '[base=utc][,clock=host|vm][,driftfix=none|slew]',
    help: 'the real-time clock, which shows the time of the host in UTC',
    group: 'Machine',
    merges: true,
    params: { base: text('utc'), clock: text('host'), driftfix: text('none or slew; no tick is ever lost') },
  },
  action: {
    value: 'reboot=reset|shutdown,shutdown=poweroff|pause,panic=ACTION,watchdog=ACTION',
    help: 'what is done when the guest does something to the machine as a whole',
    group: 'Machine',
    merges: true,
    params: {
      reboot: text('when it resets itself: reset or shutdown'),
      shutdown: text('when it powers itself off: poweroff or pause'),
      panic: text('when it reports a panic (-device pvpanic): pause, shutdown, exit-failure or none'),
      watchdog: text('when a watchdog expires: reset, shutdown, poweroff, pause, debug, none or inject-nmi'),
    },
  },
  'watchdog-action': { value: 'ACTION', help: 'the same as -action watchdog=ACTION', group: 'Machine' },
  smbios: {
    value: 'type=TYPE,FIELD=TEXT... or file=FILE',
    help: 'what the machine says it is: fields of SMBIOS types 0, 1, 2, 3, 4, 11 and 17, or whole structures',
    group: 'Machine',
  },
  acpitable: {
    value: 'file=FILE or data=FILE[,sig=SIG][,rev=N][,oem_id=ID]...',
    help: 'an ACPI table of your own, whole or without its header',
    group: 'Machine',
  },
  fw_cfg: {
    value: '[name=]NAME,file=FILE or string=TEXT',
    help: 'a file that the guest finds by its firmware interface, such as opt/com.example/name',
    group: 'Machine',
    config: 'fw_cfg',
    implied: 'name',
    params: { name: text('what it is called'), file: text('where its content is'), string: text('its content') },
  },
  'no-reboot': { help: 'a reset by the guest powers it off', group: 'Machine' },
  'no-shutdown': { help: 'a guest that powers itself off stands still and can be looked at', group: 'Machine' },
  S: { help: 'the guest does not begin before cont', group: 'Machine' },
  incoming: {
    value: 'tcp:HOST:PORT|unix:PATH|exec:COMMAND|file:PATH|fd:NUMBER|defer',
    help: 'the machine comes from another process; defer: a monitor says from where',
    group: 'Machine',
  },
  loadvm: { value: 'NAME', help: 'the machine begins as it was when savevm saved it into its disks', group: 'Machine' },
  'only-migratable': { help: 'accepted: what cannot be moved is refused when it is to be', group: 'Machine' },
  kernel: { value: 'FILE', help: 'boot this: a Linux bzImage, a PVH ELF or a multiboot kernel', group: 'Boot' },
  initrd: { value: 'FILE', help: "the kernel's initial RAM disk", group: 'Boot' },
  append: { value: 'STRING', help: "the kernel's command line", group: 'Boot' },
  boot: {
    value: '[order=DRIVES][,strict=on|off][,menu=on|off]...',
    help: 'the order of booting; a kernel given with -kernel comes first',
    group: 'Boot',
    config: 'boot-opts',
    implied: 'order',
    merges: true,
    params: {
      order: text('letters of drives'),
      once: text('the same, for the first start'),
      menu: flag('a menu: off'),
      splash: text('a picture'),
      'splash-time': number('in milliseconds'),
      'reboot-timeout': number('in milliseconds'),
      strict: flag('nothing else is tried'),
    },
  },
  drive: {
    value: 'file=FILE[,if=virtio|scsi|none][,format=FORMAT][,cache=MODE][,snapshot=on][,throttling.KIND=N]...',
    help: 'a disk, or with if=none the content for a -device',
    group: 'Disks',
  },
  blockdev: {
    value: '[driver=]DRIVER,node-name=NAME...',
    help: 'a node of the block graph',
    group: 'Disks',
    implied: 'driver',
    json: true,
  },
  snapshot: { help: 'what the guest writes to its disks is thrown away at the end', group: 'Disks' },
  hda: { value: 'FILE', help: 'a disk', group: 'Disks', aliases: ['hdb', 'hdc', 'hdd'] },
  cdrom: { value: 'FILE', help: 'a disc in a SCSI drive', group: 'Disks' },
  fsdev: {
    value: 'local,id=ID,path=FOLDER,security_model=none|mapped-xattr|mapped-file[,readonly=on]',
    help: 'a folder of the host, for a -device virtio-9p-pci',
    group: 'Disks',
    implied: 'fsdriver',
  },
  virtfs: {
    value: 'local,path=FOLDER,mount_tag=TAG,security_model=none|mapped-xattr|mapped-file[,readonly=on]',
    help: 'a folder of the host that the guest can mount by 9P',
    group: 'Disks',
    implied: 'fsdriver',
  },
  netdev: {
    value: 'user,id=ID[,hostfwd=RULE][,restrict=on|off]',
    help: 'what a network card is plugged into',
    group: 'Networks',
    implied: 'type',
    json: true,
  },
  nic: {
    value: 'user[,model=virtio][,mac=ADDRESS]... or none',
    help: 'a network card and what it is plugged into',
    group: 'Networks',
    implied: 'type',
  },
  net: { value: 'none', help: 'no default network card', group: 'Networks', implied: 'type' },
  chardev: {
    value: 'KIND,id=ID...',
    help: 'a character device: stdio, file, pipe, pty, socket, null, ringbuf, fd; -chardev help lists them',
    group: 'Lines and monitors',
    implied: 'backend',
  },
  serial: {
    value: 'LINE',
    help: 'where a serial port leads: stdio, mon:stdio, pty, file:PATH, unix:PATH, tcp:HOST:PORT, chardev:ID, null, none',
    group: 'Lines and monitors',
  },
  parallel: { value: 'none', help: 'no parallel port; there is none', group: 'Lines and monitors' },
  monitor: { value: 'LINE', help: 'where the human monitor is; lines as with -serial', group: 'Lines and monitors' },
  qmp: { value: 'LINE', help: 'where QMP is spoken; lines as with -serial', group: 'Lines and monitors' },
  'qmp-pretty': { value: 'LINE', help: 'the same, for people who read it', group: 'Lines and monitors' },
  mon: {
    value: '[chardev=]ID[,mode=readline|control][,pretty=on|off]',
    help: 'a monitor on a character device',
    group: 'Lines and monitors',
    implied: 'chardev',
    params: {
      chardev: text('its id'),
      mode: text('readline or control'),
      pretty: flag('QMP for people'),
      id: text('a name'),
    },
  },
  gdb: { value: 'LINE', help: 'where gdb may connect; lines as with -serial', group: 'Lines and monitors' },
  s: { help: 'the same as -gdb tcp::1234', group: 'Lines and monitors' },
  device: {
    value: 'DRIVER[,PROPERTY=VALUE...]',
    help: 'a device; -device help lists them, -device DRIVER,help its properties',
    group: 'Devices',
    implied: 'driver',
    json: true,
  },
  object: {
    value: 'TYPE,id=ID[,PROPERTY=VALUE...]',
    help: 'an object that devices use; -object help lists them',
    group: 'Devices',
    implied: 'qom-type',
    json: true,
  },
  set: { value: 'GROUP.ID.PARAMETER=VALUE', help: 'a parameter of something that was given before', group: 'Devices' },
  global: { value: 'DRIVER.PROPERTY=VALUE', help: 'a property of all devices of a kind', group: 'Devices' },
  nographic: { help: 'no screen; the first serial port and the monitor are on the terminal', group: 'Devices' },
  display: { value: 'none', help: 'no screen; there is none yet', group: 'Devices' },
  vga: { value: 'none', help: 'no graphics card; there is none yet', group: 'Devices' },
  vnc: { value: 'none', help: 'no VNC server; there is none yet', group: 'Devices' },
  nodefaults: { help: 'no devices but those that are asked for', group: 'Devices', aliases: ['no-defaults'] },
  audiodev: {
    value: 'none,id=ID',
    help: 'no sound; there is none yet',
    group: 'Devices',
    implied: 'driver',
    json: true,
  },
  usb: { help: 'refused: there is no USB yet', group: 'Devices' },
  'no-user-config': { help: 'there are no configuration files that would be read by themselves', group: 'Process' },
  readconfig: { value: 'FILE', help: 'options from a file', group: 'Process' },
  pidfile: { value: 'FILE', help: 'gets the process id, and is removed at the end', group: 'Process' },
  daemonize: { help: 'goes on in the background once everything is open', group: 'Process' },
  runas: {
    value: 'USER or UID:GID',
    help: 'the process becomes this user once everything is open; for root',
    group: 'Process',
  },
  d: { value: 'ITEM[,ITEM...]', help: 'what is logged; -d help lists the items', group: 'Process' },
  D: { value: 'FILE', help: 'messages go there', group: 'Process' },
  msg: {
    value: '[timestamp=on|off][,guest-name=on|off]',
    help: 'how messages begin',
    group: 'Process',
    merges: true,
    params: { timestamp: flag('with the time'), 'guest-name': flag('with the name of the machine') },
  },
  'add-fd': {
    value: 'fd=FD,set=SET[,opaque=TEXT]',
    help: 'an open file, for names like /dev/fdset/1',
    group: 'Process',
    params: {
      fd: number('its number'),
      set: number('the set that it joins'),
      opaque: text('whatever the caller wants to find again'),
    },
  },
  overcommit: {
    value: 'mem-lock=on|off,cpu-pm=on|off',
    help: "mem-lock: keep the guest's memory from being swapped out, with KVM; cpu-pm: only off",
    group: 'Process',
    merges: true,
    params: { 'mem-lock': flag('none of it is swapped out'), 'cpu-pm': flag('off') },
  },
  sandbox: {
    value: 'on|off[,...]',
    help: 'accepted with a warning: the process is not confined by itself',
    group: 'Process',
    implied: 'enable',
    merges: true,
    params: {
      enable: flag('a sandbox'),
      obsolete: text('allow or deny'),
      elevateprivileges: text('allow, deny or children'),
      spawn: text('allow or deny'),
      resourcecontrol: text('allow or deny'),
    },
  },
  compat: {
    value: 'deprecated-input=accept,deprecated-output=accept',
    help: 'what is done about deprecated things: accept',
    group: 'Process',
    merges: true,
    params: {
      'deprecated-input': text('accept'),
      'deprecated-output': text('accept'),
      'unstable-input': text('accept'),
      'unstable-output': text('accept'),
    },
  },
  version: { help: 'the version', group: 'Help', aliases: ['V'] },
  h: { help: 'this text', group: 'Help', aliases: ['help'] },
} as const satisfies Readonly<Record<string, OptionSpec>>;

export type OptionName = keyof typeof OPTIONS;

export const optionTable: Readonly<Record<string, OptionSpec>> = OPTIONS;

const NO_FIRMWARE = 'firmware cannot be chosen yet; -kernel boots without it';
const NO_SCREEN = 'there is no screen yet; -nographic and -display none work';

/** Options of QEMU that are not here, whether they take a value, and what to do instead. */
export const REFUSED: Readonly<Record<string, { readonly takesValue: boolean; readonly why: string }>> =
  Object.fromEntries(
    (
      [
        ['bios L pflash option-rom mtdblock', true, NO_FIRMWARE],
        ['dtb', true, 'x86 machines have no device tree'],
        ['numa', true, 'the guest has one memory node'],
        ['sd fda fdb', true, '-drive if=virtio and if=scsi work'],
        ['iscsi', true, 'disks are files'],
        ['tpmdev', true, 'there is no TPM yet'],
        ['usbdevice', true, 'there is no USB yet'],
        ['bt', true, 'QEMU has none either'],
        ['k g', true, NO_SCREEN],
        ['curses full-screen alt-grab ctrl-grab no-frame', false, NO_SCREEN],
        ['spice', true, NO_SCREEN],
        ['audio soundhw', true, '-audiodev none works'],
        ['debugcon virtioconsole', true, '-serial works'],
        ['watchdog', true, '-device i6300esb works'],
        ['icount seed', true, 'guest time is the time of the host'],
        ['no-acpi no-hpet', false, '-machine takes hpet=off; ACPI is always there'],
        ['no-fd-bootchk win2k-hack', false, 'there is nothing to work around'],
        ['preconfig singlestep', false, '-S works'],
        ['dfilter trace tb-size plugin qtest qtest-log record-config', true, '-d logs what -d help lists'],
        ['chroot run-with', true, '-runas works'],
        ['async-teardown enable-sync-profile', false, 'there is nothing that it would change'],
        ['echr', true, 'Ctrl-A leads from the console to the monitor'],
        ['dump-vmstate', true, 'states say themselves what they are made of: see docs/snapshots.md'],
        ['portrait', false, NO_SCREEN],
        ['audio-help', false, '-audiodev none works'],
        ['enable-fips', false, 'it has no cryptography to restrict'],
        ['semihosting', false, 'x86 has none'],
        ['semihosting-config prom-env old-param', true, 'x86 has none'],
        ['xen-domid xen-attach xen-domid-restrict', true, 'there is no Xen'],
        ['rotate', true, NO_SCREEN],
        ['mem-path', true, 'use -object memory-backend-ram'],
        ['mem-prealloc', false, 'use -object memory-backend-ram'],
      ] as const
    ).flatMap(([names, takesValue, why]) => names.split(' ').map((name) => [name, { takesValue, why }])),
  );

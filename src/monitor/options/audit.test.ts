/** Every option of QEMU 7.2 and 8.2 is there, or refused with what is supported. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf } from '../testing/fake-emulator.ts';
import { parseCommandLine } from './command-line.ts';
import { optionTable, REFUSED } from './table.ts';

/** As `qemu-system-x86_64 -h` names them. */
const QEMU =
  `D L M S accel acpitable action add-fd alt-grab append async-teardown audio audio-help audiodev bios blockdev
  boot cdrom chardev chroot compat cpu ctrl-grab curses d daemonize debugcon device dfilter display drive dtb
  dump-vmstate echr enable-fips enable-kvm enable-sync-profile fda fdb fsdev full-screen fw_cfg g gdb global h hda hdb hdc
  hdd help icount incoming initrd iscsi k kernel loadvm m machine mem-path mem-prealloc mon monitor msg mtdblock name
  net netdev nic no-acpi no-fd-bootchk no-hpet no-reboot no-shutdown no-user-config nodefaults nographic numa object
  only-migratable option-rom overcommit parallel pflash pidfile plugin portrait preconfig prom-env qmp qmp-pretty
  qtest qtest-log readconfig rotate rtc run-with runas s sandbox sd seed semihosting semihosting-config serial set
  singlestep smbios smp snapshot soundhw spice tb-size tpmdev trace usb usbdevice uuid version vga virtfs virtioconsole
  vnc watchdog watchdog-action win2k-hack xen-attach xen-domid xen-domid-restrict`.split(/\s+/);

const isThere = (name: string) =>
  Object.entries(optionTable).some(([own, { aliases }]) => own === name || aliases?.includes(name));

for (const name of QEMU) {
  if (isThere(name)) continue;
  test(`-${name} is refused by name, with what is supported`, () => {
    const value = REFUSED[name]?.takesValue ? ['x'] : [];
    const message = new RegExp(`^-${name}: not supported: .{8,}`);
    assert.throws(() => parseCommandLine([`-${name}`, ...value], () => ''), { name: 'UserError', message });
  });
}

test('of the rest, each takes a value or takes none as in QEMU, and nothing is known that QEMU does not know', () => {
  const there = QEMU.filter(isThere);
  assert.ok(there.length > 60, `${there.length}`);
  const own = Object.keys(optionTable).filter((name) => !QEMU.includes(name));
  assert.deepEqual(own, []);
  for (const name of there.filter((one) => optionTable[one]?.value !== undefined)) {
    assert.throws(() => parseCommandLine([`-${name}`], () => ''), { message: `-${name}: requires an argument` });
  }
});

test('-d names what is logged, -runas is kept for later', () => {
  const config = configOf(['-kernel', 'k', '-d', 'cpu_reset', '-runas', 'nobody']);
  assert.partialDeepStrictEqual(config, { logItems: ['cpu_reset'], runAs: 'nobody' });
  assert.throws(() => configOf(['-kernel', 'k', '-d', 'in_asm']), {
    message: "-d in_asm: 'in_asm' is not logged; there is cpu_reset",
  });
});

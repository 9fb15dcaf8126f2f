/** The kernel modules that the default guest carries: Debian's kernels have their virtio drivers outside of them. */

/** Debian's kernel for clouds, which is quick to boot, or the one for everything, which can share folders. */
export type GuestKernel = 'cloud' | 'generic';

/** What virtio devices need, in the order of loading. */
const TRANSPORT = ['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci'];
const NET = ['failover', 'net_failover', 'virtio_net'];
const SCSI = ['scsi_common', 'scsi_mod'];
/** What the generic kernel's SCSI disks need beside them. */
const PROTECTION = ['crct10dif_common', 'crc-t10dif', 'crc64', 'crc64-rocksoft', 't10-pi'];
const SCSI_DRIVERS = ['sd_mod', 'cdrom', 'sr_mod', 'isofs', 'virtio_scsi'];
const EXT4 = ['crc32c_generic', 'jbd2', 'mbcache', 'crc16', 'ext4'];
const VSOCK = ['vsock', 'vmw_vsock_virtio_transport_common', 'vmw_vsock_virtio_transport'];

/**
 * Which modules a virtio PCI device needs, by its device id (VIRTIO 1.2, 4.1.2.1; the second of two is a transitional
 * device's), in the order of loading.
 */
type Drivers = Readonly<Record<string, readonly string[]>>;

const EVERY_KERNEL: Drivers = {
  '0x1041|0x1000': NET,
  '0x1043|0x1003': ['virtio_console'],
  '0x1044|0x1005': ['virtio-rng'],
  '0x1045|0x1002': ['virtio_balloon'],
  '0x1052': ['virtio_input', 'evdev'],
  '0x1053': VSOCK,
};
const DRIVERS: Readonly<Record<GuestKernel, Drivers>> = {
  cloud: { ...EVERY_KERNEL, '0x1042|0x1001': ['virtio_blk'], '0x1048|0x1004': [...SCSI, ...SCSI_DRIVERS] },
  generic: {
    ...EVERY_KERNEL,
    '0x1042|0x1001': [...EXT4, 'virtio_blk'],
    '0x1048|0x1004': [...EXT4, ...SCSI, ...PROTECTION, ...SCSI_DRIVERS],
    '0x1049|0x1009': ['9pnet', '9pnet_virtio', 'netfs', 'fscache', '9p'],
  },
};

/** Names of a kernel's modules, without `.ko`. */
export function modulesOf(kernel: GuestKernel): string[] {
  return [...new Set([...TRANSPORT, ...Object.values(DRIVERS[kernel]).flat()])];
}

const VIRTIO_VENDOR = '0x1af4';

/** Shell commands that load the modules for the devices that the guest finds, and nothing where it finds none. */
export function loadModules(kernel: GuestKernel): string {
  return `
read -r command_line < /proc/cmdline
# Words MODULE.NAME=VALUE of the kernel's command line are parameters of that module, as modprobe has it.
parameters() {
  for word in $command_line; do
    case $word in "$1".*) echo "\${word#*.}";; esac
  done
}
loaded=
load() {
  for module in "$@"; do
    case "$loaded " in
      *" $module "*) ;;
      *) insmod /lib/modules/$module.ko $(parameters $module); loaded="$loaded $module";;
    esac
  done
}
for device in /sys/bus/pci/devices/*; do
  read -r vendor < $device/vendor
  [ "$vendor" = ${VIRTIO_VENDOR} ] || continue
  read -r id < $device/device
  case $id in
    ${Object.entries(DRIVERS[kernel])
      .map(([id, modules]) => `${id}) load ${[...TRANSPORT, ...modules].join(' ')};;`)
      .join('\n    ')}
  esac
done
`;
}

/** The kernel modules that the default guest carries: Debian's kernel has its virtio drivers outside of it. */

/** Which modules a virtio PCI device needs, by its device id (VIRTIO 1.2, 4.1.2.1), in the order of loading. */
const DRIVERS: Readonly<Record<string, readonly string[]>> = {
  '0x1041': ['failover', 'net_failover', 'virtio_net'],
  '0x1042': ['virtio_blk'],
  '0x1043': ['virtio_console'],
  '0x1044': ['virtio-rng'],
  '0x1048': ['scsi_common', 'scsi_mod', 'sd_mod', 'cdrom', 'sr_mod', 'isofs', 'virtio_scsi'],
};

/** What all of them need, in the order of loading. */
const TRANSPORT = ['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci'];

/** Names of the modules, without `.ko`. */
export const MODULES: readonly string[] = [...TRANSPORT, ...Object.values(DRIVERS).flat()];

const VIRTIO_VENDOR = '0x1af4';

/** Shell commands that load the modules for the devices that the guest finds, and nothing where it finds none. */
export const LOAD_MODULES = `
loaded=
load() {
  for module in "$@"; do
    case "$loaded " in
      *" $module "*) ;;
      *) insmod /lib/modules/$module.ko; loaded="$loaded $module";;
    esac
  done
}
for device in /sys/bus/pci/devices/*; do
  read -r vendor < $device/vendor
  [ "$vendor" = ${VIRTIO_VENDOR} ] || continue
  read -r id < $device/device
  case $id in
    ${Object.entries(DRIVERS)
      .map(([id, modules]) => `${id}) load ${[...TRANSPORT, ...modules].join(' ')};;`)
      .join('\n    ')}
  esac
done
`;

import { type GuestKernel, loadModules } from './modules.ts';

/** In the line that an interactive guest prints once its terminal takes input. */
export const READY_TEXT = 'booted by Vireo';

/**
 * The default guest's /init, run by busybox's shell as process 1.
 *
 * Without /vireo/exec: an interactive shell on ttyS0, and power-off when it ends.
 * With it: the exec protocol, which ../../../cli/exec.ts speaks on the host's side:
 * the script's standard output is ttyS1 and its standard error ttyS2, byte for
 * byte; then its exit code is one line on ttyS3, and the guest powers off.
 *
 * Each shared folder is mounted below /mnt by its tag.
 *
 * With root=DEVICE on the kernel command line, that file system is the root, and
 * its init (init=PATH, or /sbin/init) goes on: with `ro` and `rw` as the kernel has them.
 *
 * COLUMNS, LINES and TERM may come from the kernel command line. VIREO_INPUT=pipe
 * there says that nobody types: then the shell prompts, but neither echoes nor
 * edits lines (busybox's edits only where the terminal echoes), and Ctrl-D ends it
 * wherever it comes.
 */
export function initScript(kernel: GuestKernel): string {
  return `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
hostname vireo
ip link set lo up
cd /root
${loadModules(kernel)}
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  udhcpc -i eth0 -q -n -t 3 -T 1 >/dev/null 2>&1 || echo "no DHCP answer on eth0" >&2
fi
new_root= new_init=/sbin/init new_mode=ro
for word in $command_line; do
  case $word in
    root=/dev/*) new_root=\${word#root=};;
    init=*) new_init=\${word#init=};;
    ro|rw) new_mode=$word;;
  esac
done
if [ -n "$new_root" ]; then
  mkdir /new-root
  if mount -o $new_mode "$new_root" /new-root; then
    for place in dev proc sys run tmp; do mount -o move /$place /new-root/$place; done
    exec switch_root /new-root "$new_init"
  fi
  echo "vireo: $new_root cannot be the root; this shell can tell why" >&2
fi
for file in /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag; do
  [ -e $file ] || continue
  tag=$(tr -d '\\0' < $file)
  mkdir -p "/mnt/$tag"
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap "$tag" "/mnt/$tag"
done

if [ -e /vireo/exec ]; then
  exec 3>/dev/ttyS1 4>/dev/ttyS2 5>/dev/ttyS3
  for port in ttyS1 ttyS2 ttyS3; do stty -F /dev/$port raw -echo; done
  sh /vireo/exec </dev/null >&3 2>&4 3>&- 4>&- 5>&-
  code=$?
  # Setting a terminal's attributes waits until its output is out.
  for port in ttyS1 ttyS2; do stty -F /dev/$port raw -echo; done
  echo $code >&5
  stty -F /dev/ttyS3 raw -echo
else
  stty -F /dev/ttyS0 sane rows \${LINES:-24} cols \${COLUMNS:-80}
  [ "$VIREO_INPUT" = pipe ] && stty -F /dev/ttyS0 -echo
  unset LINES COLUMNS VIREO_INPUT
  echo
  echo "Linux $(uname -r) on $(uname -m), ${READY_TEXT}. This is busybox; 'exit' powers off."
  setsid cttyhack sh -l
fi
poweroff -f
`;
}

/** Shell settings of the interactive shell. */
export const PROFILE = `PS1='\\w # '
`;

/** What udhcpc runs as it learns its addresses. */
export const DHCP_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip address replace $ip/$mask dev $interface
[ -n "$router" ] && ip route replace default via \${router%% *} dev $interface
{
  [ -n "$search$domain" ] && echo "search \${search:-$domain}"
  for server in $dns; do echo "nameserver $server"; done
} > /etc/resolv.conf
`;

/** The human monitor's commands about disks and their jobs: QMP's by other names. */
import { parseSize } from '../../base/index.ts';
import { execute } from '../commands/index.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { QmpError } from '../qmp/errors.ts';
import type { HmpCommand } from './table.ts';
import { need, numberOf } from './values.ts';

type Run = HmpCommand['run'];

const drives = ({ config }: Emulator) => config.drives.map(({ id }) => id);

/** Flags such as -f at the beginning, and the words behind them. */
function flagged(args: readonly string[]): { flags: ReadonlySet<string>; rest: readonly string[] } {
  const count = args.findIndex((word) => !/^-[a-z]$/.test(word));
  const end = count < 0 ? args.length : count;
  return { flags: new Set(args.slice(0, end).map((word) => word[1])), rest: args.slice(end) };
}

const ofJob = (name: 'block-job-pause' | 'block-job-resume' | 'block-job-complete', help: string): HmpCommand => ({
  args: 'device',
  help,
  complete: drives,
  async run(emulator, args) {
    await execute(emulator, name, { device: need(args, 'device')[0] });
    return '';
  },
});

const resize: Run = async (emulator, args) => {
  const [device, size] = need(args, 'device', 'size');
  await execute(emulator, 'block_resize', { device, size: parseSize(size, 'M') });
  return '';
};

const commit: Run = async (emulator, args) => {
  const [device] = need(args, 'device');
  const names = device === 'all' ? drives(emulator) : [device];
  for (const name of names) {
    await execute(emulator, 'block-commit', { device: name, 'job-id': `commit-${name}` });
  }
  return '';
};

/** drive_mirror and drive_backup: `[-n] [-f] device target [format]`. */
const copies = (name: 'drive-mirror' | 'drive-backup', help: string): HmpCommand => ({
  args: '[-n] [-f] device target [format]',
  help: `${help}; -n: into a file that is there; -f: all of it, not only what the top layer has`,
  complete: drives,
  async run(emulator, args) {
    const { flags, rest } = flagged(args);
    const [device, target, format] = need(rest, 'device', 'target');
    const mode = flags.has('n') ? 'existing' : 'absolute-paths';
    await execute(emulator, name, { device, target, format, mode, sync: flags.has('f') ? 'full' : 'top' } as never);
    return '';
  },
});

const throttle: Run = async (emulator, args) => {
  const names = ['bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr'] as const;
  const [device, ...values] = need(args, 'device', ...names);
  const [bps, bps_rd, bps_wr, iops, iops_rd, iops_wr] = names.map((name, index) => numberOf(values[index], name));
  await execute(emulator, 'block_set_io_throttle', { device, bps, bps_rd, bps_wr, iops, iops_rd, iops_wr });
  return '';
};

const overlay: Run = async (emulator, args) => {
  const { flags, rest } = flagged(args);
  const [device, file, format] = need(rest, 'device', 'new-image-file');
  const mode = flags.has('n') ? 'existing' : 'absolute-paths';
  await execute(emulator, 'blockdev-snapshot-sync', { device, 'snapshot-file': file, format, mode });
  return '';
};

const serve: Run = async (emulator, args) => {
  const { flags, rest } = flagged(args);
  const [place] = need(rest, 'host:port or unix:path');
  const path = /^unix:(.+)$/.exec(place)?.[1];
  const [, host, port] = /^(.*):(\d+)$/.exec(place) ?? [];
  if (path === undefined && port === undefined) throw new QmpError(`'${place}' is neither unix:PATH nor HOST:PORT`);
  const addr = path === undefined ? { type: 'inet', data: { host, port } } : { type: 'unix', data: { path } };
  await execute(emulator, 'nbd-server-start', { addr } as never);
  const writable = flags.has('w');
  if (flags.has('a'))
    for (const device of drives(emulator)) await execute(emulator, 'nbd-server-add', { device, writable });
  return '';
};

export const BLOCK_HMP: Readonly<Record<string, HmpCommand>> = {
  block_resize: {
    args: 'device size',
    help: 'gives a disk another size; digits alone are M',
    complete: drives,
    run: resize,
  },
  commit: {
    args: 'device|all',
    help: 'what an overlay has goes into the image below it',
    complete: drives,
    run: commit,
  },
  block_stream: {
    args: 'device [speed [base]]',
    help: 'what the images below have goes into the top one',
    complete: drives,
    async run(emulator, args) {
      const [device, speed, base] = need(args, 'device');
      const limit = speed === undefined ? undefined : numberOf(speed, 'speed');
      await execute(emulator, 'block-stream', { device, base, speed: limit });
      return '';
    },
  },
  drive_mirror: copies('drive-mirror', 'copies a disk and keeps the copy up to date'),
  drive_backup: copies('drive-backup', 'copies a disk as it is now'),
  block_job_pause: ofJob('block-job-pause', 'lets a job rest'),
  block_job_resume: ofJob('block-job-resume', 'lets a job go on'),
  block_job_complete: ofJob('block-job-complete', 'lets a job that is ready finish'),
  block_job_cancel: {
    args: '[-f] device',
    help: 'ends a job; -f: at once, whatever it has done',
    complete: drives,
    async run(emulator, args) {
      const { flags, rest } = flagged(args);
      await execute(emulator, 'block-job-cancel', { device: need(rest, 'device')[0], force: flags.has('f') });
      return '';
    },
  },
  block_job_set_speed: {
    args: 'device speed',
    help: 'how many bytes a second a job may move',
    complete: drives,
    async run(emulator, args) {
      const [device, speed] = need(args, 'device', 'speed');
      await execute(emulator, 'block-job-set-speed', { device, speed: numberOf(speed, 'speed') });
      return '';
    },
  },
  block_set_io_throttle: {
    args: 'device bps bps_rd bps_wr iops iops_rd iops_wr',
    help: "limits of a disk's requests; 0: none",
    complete: drives,
    run: throttle,
  },
  snapshot_blkdev: {
    args: '[-n] device new-image-file [format]',
    help: 'what the guest writes goes into a new overlay from here on',
    complete: drives,
    run: overlay,
  },
  snapshot_blkdev_internal: {
    args: 'device name',
    help: 'keeps what a disk has now inside its image',
    complete: drives,
    async run(emulator, args) {
      const [device, name] = need(args, 'device', 'name');
      await execute(emulator, 'blockdev-snapshot-internal-sync', { device, name });
      return '';
    },
  },
  snapshot_delete_blkdev_internal: {
    args: 'device name [id]',
    help: 'forgets that again',
    complete: drives,
    async run(emulator, args) {
      const [device, name, id] = need(args, 'device', 'name');
      await execute(emulator, 'blockdev-snapshot-delete-internal-sync', { device, name, id });
      return '';
    },
  },
  eject: {
    args: '[-f] device',
    help: 'takes the disc out of a drive; -f: also when the guest has locked it',
    complete: drives,
    async run(emulator, args) {
      const { flags, rest } = flagged(args);
      await execute(emulator, 'eject', { device: need(rest, 'device')[0], force: flags.has('f') });
      return '';
    },
  },
  change: {
    args: 'device file [format]',
    help: 'puts another disc into a drive',
    complete: drives,
    async run(emulator, args) {
      const [device, filename, format] = need(args, 'device', 'file');
      await execute(emulator, 'blockdev-change-medium', { device, filename, format });
      return '';
    },
  },
  nbd_server_start: {
    args: '[-a] [-w] host:port|unix:path',
    help: 'serves disks by NBD; -a: all of them; -w: clients may write',
    run: serve,
  },
  nbd_server_add: {
    args: '[-w] device [name]',
    help: 'serves a disk; -w: clients may write',
    complete: drives,
    async run(emulator, args) {
      const { flags, rest } = flagged(args);
      const [device, name] = need(rest, 'device');
      await execute(emulator, 'nbd-server-add', { device, name, writable: flags.has('w') });
      return '';
    },
  },
  nbd_server_remove: {
    args: '[-f] name',
    help: 'serves it no more; -f: also when somebody uses it',
    async run(emulator, args) {
      const { flags, rest } = flagged(args);
      const mode = flags.has('f') ? 'hard' : 'safe';
      await execute(emulator, 'nbd-server-remove', { name: need(rest, 'name')[0], mode });
      return '';
    },
  },
  nbd_server_stop: {
    help: 'serves no disks any more',
    async run(emulator) {
      await execute(emulator, 'nbd-server-stop', {});
      return '';
    },
  },
};

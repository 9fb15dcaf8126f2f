/** Jobs: copying disks while they are in use. */
import { any, arrayOf, bool, command, enumOf, field, int, optional, str, struct } from '../schema/types.ts';
import { jobStatus, jobType } from './block.ts';

const onError = enumOf('BlockdevOnError', 'What an error does to a job: only report, it ends.', [
  'report',
  'ignore',
  'enospc',
  'stop',
  'auto',
]);
const sync = enumOf('MirrorSyncMode', 'What is copied.', ['top', 'full', 'none', 'incremental', 'bitmap']);
const imageMode = enumOf('NewImageMode', 'Whether the image is made.', ['existing', 'absolute-paths']);

const common = {
  'job-id': optional(str, 'default the id of the -drive'),
  speed: optional(int, 'bytes a second at most'),
  'auto-finalize': optional(bool, 'false: it waits for job-finalize'),
  'auto-dismiss': optional(bool, 'false: it stays until job-dismiss'),
};
const copying = {
  'on-source-error': optional(onError),
  'on-target-error': optional(onError),
  'filter-node-name': optional(str, 'accepted and without effect: there is no node between'),
};
const mirroring = {
  sync: field(sync),
  granularity: optional(int, 'accepted and without effect'),
  'buf-size': optional(int, 'accepted and without effect'),
  replaces: optional(str),
  'copy-mode': optional(enumOf('MirrorCopyMode', 'When changes are copied.', ['background', 'write-blocking'])),
};
const backup = {
  sync: field(sync),
  bitmap: optional(str),
  'bitmap-mode': optional(enumOf('BitmapSyncMode', 'When the bitmap begins anew.', ['on-success', 'never', 'always'])),
  compress: optional(bool),
  'x-perf': optional(any),
};

const ofJob = { device: field(str, "the job's id") };
const ofId = { id: field(str, "the job's id") };

const blockJobInfo = struct('BlockJobInfo', 'A job on a disk.', {
  type: field(jobType),
  device: field(str, "the job's id"),
  len: field(int),
  offset: field(int),
  busy: field(bool),
  paused: field(bool),
  speed: field(int),
  'io-status': field(enumOf('BlockDeviceIoStatus', 'Whether requests succeed.', ['ok', 'failed', 'nospace'])),
  ready: field(bool),
  status: field(jobStatus),
  'auto-finalize': field(bool),
  'auto-dismiss': field(bool),
  error: optional(str),
});

const jobInfo = struct('JobInfo', 'A job.', {
  id: field(str),
  type: field(jobType),
  status: field(jobStatus),
  'current-progress': field(int),
  'total-progress': field(int),
  error: optional(str),
});

export const blockJobCommands = {
  'query-block-jobs': command({
    doc: 'The jobs on disks.',
    returns: arrayOf(blockJobInfo),
    since: '1.1',
    examples: [{ returns: [] }],
  }),
  'query-jobs': command({
    doc: 'All jobs.',
    returns: arrayOf(jobInfo),
    since: '3.0',
    examples: [{ returns: [] }],
  }),
  'blockdev-mirror': command({
    doc: 'Copies a disk to a node and then what changes, until it is told to complete: the guest goes on with the copy.',
    args: { ...common, device: field(str), target: field(str), ...mirroring, ...copying },
    since: '2.6',
    examples: [{ arguments: { 'job-id': 'm', device: 'd0', target: 'spare', sync: 'full' }, returns: {} }],
  }),
  'drive-mirror': command({
    doc: 'The same to an image that it makes.',
    args: {
      ...common,
      device: field(str),
      target: field(str, "a file's name"),
      format: optional(str),
      'node-name': optional(str),
      mode: optional(imageMode),
      unmap: optional(bool),
      ...mirroring,
      ...copying,
    },
    since: '1.3',
    examples: [{ arguments: { device: 'd0', target: '/tmp/copy.qcow2', sync: 'full' }, returns: {} }],
  }),
  'blockdev-backup': command({
    doc: 'Copies a disk as it is now to a node, whatever the guest writes meanwhile.',
    args: { ...common, device: field(str), target: field(str), ...backup, ...copying },
    since: '2.3',
    examples: [{ arguments: { 'job-id': 'b', device: 'd0', target: 'spare', sync: 'full' }, returns: {} }],
  }),
  'drive-backup': command({
    doc: 'The same to an image that it makes.',
    args: {
      ...common,
      device: field(str),
      target: field(str, "a file's name"),
      format: optional(str),
      mode: optional(imageMode),
      ...backup,
      ...copying,
    },
    since: '1.6',
    examples: [{ arguments: { device: 'd0', target: '/tmp/backup.qcow2', sync: 'full' }, returns: {} }],
  }),
  'block-stream': command({
    doc: 'Copies what comes from the images below into the disk, which then stands on `base`, or on nothing.',
    args: {
      ...common,
      device: field(str),
      base: optional(str, "a file's name"),
      'base-node': optional(str),
      bottom: optional(str, 'the last node that is copied'),
      'backing-file': optional(str, 'how the image names the base'),
      'on-error': optional(onError),
      'filter-node-name': optional(str),
      'snapshot-node-name': optional(str),
    },
    since: '1.1',
    examples: [{ arguments: { device: 'd0' }, returns: {} }],
  }),
  'block-commit': command({
    doc: 'Writes what images hold into one below them. When the top one is what the guest writes to, the job goes on until it is told to complete.',
    args: {
      ...common,
      device: field(str),
      top: optional(str, "a file's name; default what the guest writes to"),
      'top-node': optional(str),
      base: optional(str, "a file's name; default the lowest"),
      'base-node': optional(str),
      'backing-file': optional(str),
      'on-error': optional(onError),
      'filter-node-name': optional(str),
    },
    since: '1.3',
    examples: [],
  }),
  'blockdev-create': command({
    doc: 'Makes a file, or an image in a node, as a job.',
    args: {
      'job-id': field(str),
      options: field({
        ...struct('BlockdevCreateOptions', 'What is made; the options of its driver.', {
          driver: field(
            enumOf('BlockdevCreateDriver', 'What can be made.', ['file', 'qcow2', 'luks', 'qcow', 'parallels']),
          ),
          size: field(int, 'in bytes'),
        }),
        open: true as const,
      }),
    },
    since: '3.0',
    examples: [
      {
        arguments: { 'job-id': 'create', options: { driver: 'file', filename: '/tmp/new', size: 65536 } },
        returns: {},
      },
    ],
  }),
  'block-job-pause': command({ doc: 'Lets a job rest.', args: ofJob, since: '1.3', examples: [] }),
  'block-job-resume': command({ doc: 'Lets a job go on.', args: ofJob, since: '1.3', examples: [] }),
  'block-job-cancel': command({
    doc: 'Ends a job; a mirror that is ready leaves a copy of this moment, unless it is forced.',
    args: { ...ofJob, force: optional(bool) },
    since: '1.1',
    examples: [],
  }),
  'block-job-complete': command({ doc: 'Lets a job that is ready finish.', args: ofJob, since: '1.3', examples: [] }),
  'block-job-set-speed': command({
    doc: 'Limits a job to so many bytes a second; 0 is no limit.',
    args: { ...ofJob, speed: field(int) },
    since: '1.1',
    examples: [],
  }),
  'block-job-dismiss': command({ doc: 'Forgets a job that is over.', args: ofId, since: '2.12', examples: [] }),
  'block-job-finalize': command({ doc: 'Lets a job that waits for it end.', args: ofId, since: '2.12', examples: [] }),
  'job-pause': command({ doc: 'Lets a job rest.', args: ofId, since: '3.0', examples: [] }),
  'job-resume': command({ doc: 'Lets a job go on.', args: ofId, since: '3.0', examples: [] }),
  'job-cancel': command({ doc: 'Ends a job at once.', args: ofId, since: '3.0', examples: [] }),
  'job-complete': command({ doc: 'Lets a job that is ready finish.', args: ofId, since: '3.0', examples: [] }),
  'job-dismiss': command({ doc: 'Forgets a job that is over.', args: ofId, since: '3.0', examples: [] }),
  'job-finalize': command({ doc: 'Lets a job that waits for it end.', args: ofId, since: '3.0', examples: [] }),
} as const;

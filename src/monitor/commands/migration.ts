/** Handlers of qapi/migration.ts. */
import type { HostEndpoint } from '../../contract/index.ts';
import { PAGE_BYTES } from '../../migration/index.ts';
import type { OutgoingInfo } from '../migration/migration.ts';
import { CAPABILITIES } from '../migration/settings.ts';
import type { migrationCommands } from '../qapi/migration.ts';
import { QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';

export const migrationHandlers: Handlers<keyof typeof migrationCommands> = {
  migrate({ migration }, { uri, blk, inc, resume }) {
    if (blk || inc) throw new QmpError('disks do not go with the machine: nbd-server-start and drive-mirror move them');
    if (resume) throw new QmpError('there is no postcopy migration to go on with');
    migration.start(uri);
    return DONE;
  },
  async 'migrate-incoming'({ migration }, { uri }) {
    await migration.listen(uri);
    return DONE;
  },
  migrate_cancel({ migration }) {
    migration.cancel();
    return DONE;
  },
  'migrate-continue'({ migration }, { state }) {
    migration.continue(state);
    return DONE;
  },
  'query-migrate'({ migration }) {
    const { status, error, outgoing, blockedReasons, listensAt } = migration;
    return {
      ...(status === 'none' ? {} : { status }),
      ...(error === undefined ? {} : { 'error-desc': error }),
      ...(blockedReasons.length === 0 ? {} : { 'blocked-reasons': blockedReasons }),
      ...(listensAt === undefined ? {} : { 'socket-address': [socketAddress(listensAt)] }),
      ...(outgoing === undefined ? {} : figuresOf(outgoing, status === 'completed')),
    };
  },
  'query-migrate-capabilities': ({ migration: { settings } }) =>
    CAPABILITIES.map((capability) => ({ capability, state: settings.has(capability) })),
  'migrate-set-capabilities'({ migration }, { capabilities: given }) {
    migration.refuseWhileUnderWay();
    const { capabilities } = migration.settings;
    for (const { capability, state } of given) {
      if (state) capabilities.add(capability);
      else capabilities.delete(capability);
    }
    return DONE;
  },
  'query-migrate-parameters': ({ migration: { settings } }) => settings.shown,
  'migrate-set-parameters'({ migration: { settings } }, given) {
    settings.setParameters(given);
    return DONE;
  },
};

function socketAddress(at: HostEndpoint) {
  if (at.kind === 'unix') return { type: 'unix' as const, path: at.path };
  return { type: 'inet' as const, host: at.address, port: String(at.port) };
}

function figuresOf(info: OutgoingInfo, isCompleted: boolean) {
  const { bytesPerSecond, throttlePercent } = info;
  return {
    'total-time': info.totalMillis,
    'setup-time': info.setupMillis,
    ...(isCompleted
      ? { downtime: Math.round(info.downtimeMillis) }
      : { 'expected-downtime': info.expectedDowntimeMillis }),
    ...(throttlePercent > 0 ? { 'cpu-throttle-percentage': throttlePercent } : {}),
    ram: {
      transferred: info.transferredBytes,
      remaining: info.remainingBytes,
      total: info.totalBytes,
      duplicate: info.zeroPages,
      skipped: 0,
      normal: info.normalPages,
      'normal-bytes': info.normalPages * PAGE_BYTES,
      'dirty-pages-rate': info.dirtyPagesPerSecond,
      mbps: (bytesPerSecond * 8) / 1e6,
      'dirty-sync-count': info.pass,
      'postcopy-requests': 0,
      'page-size': PAGE_BYTES,
      'multifd-bytes': 0,
      'pages-per-second': Math.round(bytesPerSecond / PAGE_BYTES),
      'precopy-bytes': info.precopyBytes,
      'downtime-bytes': info.downtimeBytes,
      'postcopy-bytes': 0,
      'dirty-sync-missed-zero-copy': 0,
    },
  };
}

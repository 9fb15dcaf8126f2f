/** Handlers of qapi/machine.ts. */
import { CPUS_MAX, MEMORY_TRANSFER_MAX_BYTES } from '../../machine/index.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { MACHINES } from '../options/devices.ts';
import type { machineCommands } from '../qapi/machine.ts';
import { QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';
import { cpuPath } from './qom-tree.ts';
import { machineOf } from './run-state.ts';

const CPU_TYPE = 'max-x86_64-cpu';
const RAM_ID = 'pc.ram';

/** Where a CPU sits: sockets of dies of cores of threads. */
function placesOf({ config: { smp } }: Emulator) {
  return Array.from({ length: smp.maxCpus }, (_, index) => ({
    'thread-id': index % smp.threads,
    'core-id': Math.floor(index / smp.threads) % smp.cores,
    ...(smp.dies > 1 ? { 'die-id': Math.floor(index / (smp.threads * smp.cores)) % smp.dies } : {}),
    'socket-id': Math.floor(index / (smp.threads * smp.cores * smp.dies)),
  }));
}

/** Only now, because the tables of instructions that come with the models take a while to load. */
async function cpuModels() {
  return import('../../target/index.ts');
}

export const machineHandlers: Handlers<keyof typeof machineCommands> = {
  'query-machines': () =>
    MACHINES.map(({ name, alias, isDefault, pciBus }) => ({
      name,
      ...(alias === undefined ? {} : { alias }),
      ...(isDefault ? { 'is-default': true } : {}),
      'cpu-max': pciBus === undefined ? 1 : CPUS_MAX,
      'hotpluggable-cpus': false,
      'numa-mem-supported': false,
      deprecated: false,
      acpi: pciBus !== undefined,
      ...(pciBus === undefined ? {} : { 'default-cpu-type': CPU_TYPE, 'default-ram-id': RAM_ID }),
    })),
  'query-current-machine': () => ({ 'wakeup-suspend-support': false }),
  async 'query-cpu-definitions'() {
    const { modelNames, resolveModel } = await cpuModels();
    return modelNames.map((name) => ({
      name,
      typename: `${name}-x86_64-cpu`,
      'unavailable-features': name === 'max' ? [] : resolveModel(name).missing,
      static: false,
      'migration-safe': name !== 'max',
      deprecated: false,
    }));
  },
  async 'query-cpu-model-expansion'(_emulator, { model }) {
    if (model.name === 'host') throw new QmpError("CPU model 'host' requires KVM or HVF");
    const { resolveModel } = await cpuModels();
    const given = Object.entries((model.props ?? {}) as Record<string, unknown>);
    const changes = given.flatMap(([name, value]) =>
      typeof value === 'boolean' && name !== 'migratable' ? [`${name}=${value ? 'on' : 'off'}`] : [],
    );
    const base = model.name === 'base' ? 'max' : model.name;
    const { features } = resolveModel([base, ...changes].join(','));
    const props = Object.fromEntries([...resolveModel('max').features].map((name) => [name, features.has(name)]));
    return { model: { name: 'base', props } };
  },
  'query-cpus-fast'(emulator) {
    if (emulator.machine === undefined) return [];
    return placesOf(emulator)
      .slice(0, emulator.config.smp.cpus)
      .map((props, index) => ({
        'thread-id': emulator.host.processId,
        props,
        'qom-path': cpuPath(index),
        'cpu-index': index,
        target: 'x86_64',
      }));
  },
  'query-hotpluggable-cpus'(emulator) {
    if (emulator.machine === undefined) throw new QmpError('machine does not support hot-plugging CPUs');
    return placesOf(emulator).map((props, index) => ({
      props,
      'vcpus-count': 1,
      type: CPU_TYPE,
      ...(index < emulator.config.smp.cpus ? { 'qom-path': cpuPath(index) } : {}),
    }));
  },
  'query-memory-size-summary': ({ config }) => ({ 'base-memory': config.memoryBytes, 'plugged-memory': 0 }),
  'query-memory-devices': () => [],
  'query-memdev': ({ objects }) =>
    [...objects.values()]
      .filter(({ type }) => type.startsWith('memory-backend-'))
      .map(({ id, properties }) => ({
        id,
        size: properties.size as number,
        merge: true,
        dump: true,
        prealloc: false,
        share: false,
        'host-nodes': [],
        policy: 'default',
      })),
  'query-acpi-ospm-status': () => [],
  'query-iothreads': ({ objects, host }) =>
    [...objects.values()]
      .filter(({ type }) => type === 'iothread')
      .map(({ id }) => ({
        id,
        'thread-id': host.processId,
        'poll-max-ns': 0,
        'poll-grow': 0,
        'poll-shrink': 0,
        'aio-max-batch': 0,
      })),
  async balloon(emulator, { value }) {
    checkBalloon(emulator);
    if (value <= 0) throw new QmpError("Parameter 'target' expects a size");
    await machineOf(emulator).command('set-balloon', { bytes: value });
    return DONE;
  },
  async 'query-balloon'(emulator) {
    checkBalloon(emulator);
    const { actualBytes } = await machineOf(emulator).command('balloon');
    return { actual: actualBytes };
  },
  async pmemsave(emulator, { val, size, filename }) {
    const machine = machineOf(emulator);
    if (size < 0 || val < 0) throw new QmpError("Parameter 'size' expects a size");
    async function* pieces() {
      for (let at = 0; at < size; at += MEMORY_TRANSFER_MAX_BYTES) {
        const length = Math.min(MEMORY_TRANSFER_MAX_BYTES, size - at);
        yield await machine.command('read-memory', { address: val + at, length });
      }
    }
    await emulator.host.writeFile(filename, pieces());
    return DONE;
  },
  'query-tpm-models': () => [],
  'query-tpm-types': () => [],
  'query-stats': () => [],
  'query-stats-schemas': () => [],
};

function checkBalloon({ config }: Emulator): void {
  if (config.balloon === undefined) throw new QmpError('No balloon device has been activated', 'DeviceNotActive');
}

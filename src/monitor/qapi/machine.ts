/** The machine and its parts: models, CPUs, memory, the balloon. */
import {
  any,
  arrayOf,
  bool,
  command,
  enumOf,
  event,
  field,
  int,
  optional,
  size,
  str,
  struct,
  union,
} from '../schema/types.ts';

const cpuProperties = struct('CpuInstanceProperties', 'Where a CPU sits.', {
  'node-id': optional(int),
  'socket-id': optional(int),
  'die-id': optional(int),
  'cluster-id': optional(int),
  'core-id': optional(int),
  'thread-id': optional(int),
});

const modelInfo = struct('CpuModelInfo', 'A CPU model and changes to it.', {
  name: field(str),
  props: optional(any, 'features and numbers that differ from the model'),
});

const machineInfo = struct('MachineInfo', 'A kind of machine.', {
  name: field(str),
  alias: optional(str),
  'is-default': optional(bool),
  'cpu-max': field(int, 'how many CPUs it can have'),
  'hotpluggable-cpus': field(bool),
  'numa-mem-supported': field(bool),
  deprecated: field(bool),
  'default-cpu-type': optional(str),
  'default-ram-id': optional(str),
  acpi: field(bool),
});

const cpuDefinition = struct('CpuDefinitionInfo', 'A CPU model.', {
  name: field(str),
  'migration-safe': optional(bool),
  static: field(bool),
  'unavailable-features': optional(arrayOf(str), 'what this accelerator lacks of it'),
  typename: field(str),
  'alias-of': optional(str),
  deprecated: field(bool),
});

const memoryBackend = struct('Memdev', 'Memory of the host for the guest.', {
  id: optional(str),
  size: field(size),
  merge: field(bool),
  dump: field(bool),
  prealloc: field(bool),
  share: field(bool),
  reserve: optional(bool),
  'host-nodes': field(arrayOf(int)),
  policy: field(enumOf('HostMemPolicy', 'NUMA policy.', ['default', 'preferred', 'bind', 'interleave'])),
});

export const machineCommands = {
  'query-machines': command({
    doc: 'The kinds of machine that -machine takes.',
    returns: arrayOf(machineInfo),
    since: '1.2',
    examples: [{}],
  }),
  'query-current-machine': command({
    doc: 'What this machine can do.',
    returns: struct('CurrentMachineParams', 'This machine.', { 'wakeup-suspend-support': field(bool) }),
    since: '4.0',
    examples: [{ returns: { 'wakeup-suspend-support': false } }],
  }),
  'query-cpu-definitions': command({
    doc: 'The CPU models that -cpu takes.',
    returns: arrayOf(cpuDefinition),
    since: '1.2',
    examples: [{}],
  }),
  'query-cpu-model-expansion': command({
    doc: 'What a CPU model consists of with this accelerator.',
    args: {
      type: field(enumOf('CpuModelExpansionType', 'How much is said.', ['static', 'full'])),
      model: field(modelInfo),
    },
    returns: struct('CpuModelExpansionInfo', 'A model in full.', { model: field(modelInfo) }),
    since: '2.8',
    examples: [{ arguments: { type: 'static', model: { name: 'max' } } }],
  }),
  'query-cpus-fast': command({
    doc: 'The CPUs of the machine.',
    returns: arrayOf(
      struct('CpuInfoFast', 'A CPU.', {
        'cpu-index': field(int),
        'qom-path': field(str),
        'thread-id': field(int, 'the process that executes it'),
        props: optional(cpuProperties),
        target: field(enumOf('SysEmuTarget', 'An architecture.', ['x86_64'])),
      }),
    ),
    since: '2.12',
    examples: [{}],
  }),
  'query-hotpluggable-cpus': command({
    doc: 'Places for CPUs, taken ones too.',
    returns: arrayOf(
      struct('HotpluggableCPU', 'A place for a CPU.', {
        type: field(str),
        'vcpus-count': field(int),
        props: field(cpuProperties),
        'qom-path': optional(str, 'the CPU that is there'),
      }),
    ),
    since: '2.7',
    examples: [{}],
  }),
  'query-memory-size-summary': command({
    doc: "The guest's memory in bytes.",
    returns: struct('MemoryInfo', 'Memory in bytes.', {
      'base-memory': field(size),
      'plugged-memory': optional(size),
    }),
    since: '2.11',
    examples: [{}],
  }),
  'query-memory-devices': command({
    doc: 'Memory devices; there are none.',
    returns: arrayOf(any),
    since: '2.1',
    examples: [{ returns: [] }],
  }),
  'query-memdev': command({
    doc: 'The memory backends made with -object.',
    returns: arrayOf(memoryBackend),
    since: '2.1',
    examples: [{}],
  }),
  'query-acpi-ospm-status': command({
    doc: 'What the guest said of its memory and CPU slots; there are none.',
    returns: arrayOf(any),
    since: '2.1',
    examples: [{ returns: [] }],
  }),
  'query-iothreads': command({
    doc: 'The threads made with -object iothread.',
    returns: arrayOf(
      struct('IOThreadInfo', 'A thread.', {
        id: field(str),
        'thread-id': field(int),
        'poll-max-ns': field(int),
        'poll-grow': field(int),
        'poll-shrink': field(int),
        'aio-max-batch': field(int),
      }),
    ),
    since: '2.0',
    examples: [{}],
  }),
  balloon: command({
    doc: "Asks the guest's balloon driver to make the guest this large.",
    args: { value: field(int, "the guest's memory in bytes") },
    since: '0.14',
    examples: [{ arguments: { value: 67108864 }, returns: {} }],
  }),
  'query-balloon': command({
    doc: 'How large the guest is.',
    returns: struct('BalloonInfo', 'The balloon.', { actual: field(int, 'in bytes') }),
    since: '0.14',
    examples: [{}],
  }),
  pmemsave: command({
    doc: 'Writes guest memory by physical address to a file.',
    args: { val: field(int, 'the first address'), size: field(int, 'how many bytes'), filename: field(str) },
    since: '0.14',
    examples: [{ arguments: { val: 0, size: 4096, filename: '/tmp/memory' }, returns: {} }],
  }),
  'query-tpm-models': command({
    doc: 'TPM devices; there are none.',
    returns: arrayOf(str),
    since: '1.5',
    examples: [{ returns: [] }],
  }),
  'query-tpm-types': command({
    doc: 'TPM backends; there are none.',
    returns: arrayOf(str),
    since: '1.5',
    examples: [{ returns: [] }],
  }),
  'query-stats': command({
    doc: 'Counters by provider; there are none yet.',
    args: {
      target: field(enumOf('StatsTarget', 'What is counted.', ['vm', 'vcpu', 'cryptodev'])),
      vcpus: optional(arrayOf(str)),
      providers: optional(arrayOf(any)),
    },
    returns: arrayOf(any),
    since: '7.1',
    examples: [{ arguments: { target: 'vm' }, returns: [] }],
  }),
  'query-stats-schemas': command({
    doc: 'What query-stats can count; nothing yet.',
    args: { provider: optional(str) },
    returns: arrayOf(any),
    since: '7.1',
    examples: [{ returns: [] }],
  }),
} as const;

export const machineEvents = {
  BALLOON_CHANGE: event({
    doc: 'The guest has another size.',
    data: { actual: field(int, 'in bytes') },
    since: '1.2',
    rateLimitNanos: 1e9,
  }),
} as const;

const empty = struct('q_empty', '', {});
export const objectTypes = enumOf('ObjectType', 'What -object and object-add make.', [
  'iothread',
  'memory-backend-ram',
  'memory-backend-memfd',
  'memory-backend-file',
  'rng-builtin',
  'rng-random',
  'secret',
  'throttle-group',
]);

const memoryMembers = {
  size: field(size, 'in bytes'),
  share: optional(bool),
  merge: optional(bool),
  dump: optional(bool),
  prealloc: optional(bool),
  'prealloc-threads': optional(int),
  reserve: optional(bool),
  policy: optional(enumOf('HostMemPolicy', 'NUMA policy.', ['default', 'preferred', 'bind', 'interleave'])),
  'host-nodes': optional(arrayOf(int)),
  'x-use-canonical-path-for-ramblock-id': optional(bool),
};

export const objectOptions = union(
  'ObjectOptions',
  'An object by type, and its properties.',
  { 'qom-type': field(objectTypes), id: field(str) },
  'qom-type',
  {
    iothread: struct('IothreadProperties', 'A thread for block devices.', {
      'poll-max-ns': optional(int),
      'poll-grow': optional(int),
      'poll-shrink': optional(int),
      'aio-max-batch': optional(int),
      'thread-pool-min': optional(int),
      'thread-pool-max': optional(int),
    }),
    'memory-backend-ram': struct('MemoryBackendProperties', 'Anonymous memory.', memoryMembers),
    'memory-backend-memfd': struct('MemoryBackendMemfdProperties', 'Anonymous memory with a file descriptor.', {
      ...memoryMembers,
      hugetlb: optional(bool),
      hugetlbsize: optional(size),
      seal: optional(bool),
    }),
    'memory-backend-file': struct('MemoryBackendFileProperties', 'Memory in a file.', {
      ...memoryMembers,
      'mem-path': field(str),
      align: optional(size),
      offset: optional(size),
      'discard-data': optional(bool),
      pmem: optional(bool),
      readonly: optional(bool),
    }),
    'rng-builtin': empty,
    'rng-random': struct('RngRandomProperties', 'Random bytes from a file.', { filename: optional(str) }),
    secret: struct('SecretProperties', 'A password or a key.', {
      data: optional(str),
      file: optional(str),
      format: optional(enumOf('QCryptoSecretFormat', 'How the secret is written.', ['raw', 'base64'])),
      keyid: optional(str),
      iv: optional(str),
    }),
    'throttle-group': struct('ThrottleGroupProperties', 'Limits that several drives share.', {
      limits: optional(any),
    }),
  },
);

/** The guest's memory as files, and keys for its keyboard. */
import { arrayOf, bool, command, enumOf, field, int, num, optional, str, struct, union } from '../schema/types.ts';
import { KEY_CODES } from './key-codes.ts';

const formats = enumOf('DumpGuestMemoryFormat', 'How a dump is written.', ['elf']);
const status = enumOf('DumpStatus', 'Where a dump stands.', ['none', 'active', 'completed', 'failed']);
const keyName = enumOf('QKeyCode', 'A key.', Object.keys(KEY_CODES));

export const dumpCommands = {
  memsave: command({
    doc: "Writes guest memory by a CPU's linear address to a file.",
    args: {
      val: field(int, 'the first address'),
      size: field(int, 'how many bytes'),
      filename: field(str),
      'cpu-index': optional(int, 'only 0'),
    },
    since: '0.14',
    examples: [{ arguments: { val: 0, size: 4096, filename: '/tmp/memory' }, returns: {} }],
  }),
  'dump-guest-memory': command({
    doc: "Writes the guest's memory and the first CPU's registers as an ELF core; the guest rests meanwhile.",
    args: {
      paging: field(bool, 'only false: addresses are physical'),
      protocol: field(str, 'file:PATH'),
      detach: optional(bool, 'only false'),
      begin: optional(int, 'the first physical address'),
      length: optional(int, 'how many bytes from there'),
      format: optional(formats),
    },
    since: '1.2',
    examples: [{ arguments: { paging: false, protocol: 'file:/tmp/core' }, returns: {} }],
  }),
  'query-dump': command({
    doc: 'How the last dump went.',
    returns: struct('DumpQueryResult', 'A dump.', { status: field(status), completed: field(int), total: field(int) }),
    since: '2.6',
    examples: [{ returns: { status: 'none', completed: 0, total: 0 } }],
  }),
  'query-dump-guest-memory-capability': command({
    doc: 'The formats of memory dumps.',
    returns: struct('DumpGuestMemoryCapability', 'Dump formats.', { formats: field(arrayOf(formats)) }),
    since: '2.0',
    examples: [{ returns: { formats: ['elf'] } }],
  }),
  'send-key': command({
    doc: "Presses keys of the guest's virtio keyboard together, and lets them go.",
    args: {
      keys: field(
        arrayOf(
          union(
            'KeyValue',
            'A key by its name, or by its number.',
            { type: field(enumOf('KeyValueKind', 'How it is said.', ['number', 'qcode'])) },
            'type',
            {
              number: struct('IntWrapper', "A number of Linux's input events.", { data: field(int) }),
              qcode: struct('QKeyCodeWrapper', 'A name.', { data: field(keyName) }),
            },
          ),
        ),
      ),
      'hold-time': optional(num, 'milliseconds; without effect, the guest sees press and release'),
    },
    since: '1.3',
    examples: [],
  }),
} as const;

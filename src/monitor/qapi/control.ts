/** The monitor itself: the handshake, introspection, the human's command line. */
import { any, arrayOf, bool, command, enumOf, field, int, optional, str, struct } from '../schema/types.ts';

const capability = enumOf('QMPCapability', 'What a QMP client may switch on.', ['oob']);

const version = struct('VersionInfo', 'Which emulator this is.', {
  qemu: field(
    struct('VersionTriple', 'A version number.', { major: field(int), minor: field(int), micro: field(int) }),
    'the QEMU version whose interface this is',
  ),
  package: field(str, 'what the program calls itself'),
});

const commandLineParameter = struct('CommandLineParameterInfo', 'One parameter of an option.', {
  name: field(str),
  type: field(
    enumOf('CommandLineParameterType', 'How the value is written.', ['string', 'boolean', 'number', 'size']),
    'how the value is written',
  ),
  help: optional(str),
  default: optional(str),
});

export const controlCommands = {
  qmp_capabilities: command({
    doc: 'Ends the handshake. Before it, no other command is taken; after it, commands are taken and events are sent.',
    args: { enable: optional(arrayOf(capability), 'what to switch on of what the greeting offered') },
    since: '0.13',
    examples: [{ arguments: { enable: [] }, returns: {} }],
  }),
  'query-version': command({
    doc: 'The version of QEMU whose interface this is, and what the program is.',
    returns: version,
    since: '0.14',
    examples: [{}],
  }),
  'query-commands': command({
    doc: 'The names of all commands.',
    returns: arrayOf(struct('CommandInfo', 'A command.', { name: field(str) })),
    since: '0.14',
    examples: [{}],
  }),
  'query-qmp-schema': command({
    doc: 'The whole interface as data: commands, events and the types of their members. Types are named by numbers.',
    returns: arrayOf(any),
    since: '2.5',
    examples: [{}],
  }),
  'query-command-line-options': command({
    doc: "The program's options that take parameters, and which.",
    args: { option: optional(str, 'only this one, without its hyphen') },
    returns: arrayOf(
      struct('CommandLineOptionInfo', 'An option.', {
        option: field(str),
        parameters: field(arrayOf(commandLineParameter)),
      }),
    ),
    since: '1.5',
    examples: [{ arguments: { option: 'memory' } }, {}],
  }),
  'human-monitor-command': command({
    doc: 'Runs a line of the human monitor and returns what it prints.',
    args: {
      'command-line': field(str, 'the line, without a newline'),
      'cpu-index': optional(int, 'which CPU is meant by commands that look at one'),
    },
    returns: str,
    since: '0.14',
    examples: [{ arguments: { 'command-line': 'info status' }, returns: 'VM status: running\r\n' }],
  }),
  quit: command({
    doc: 'Ends the emulator at once, as pulling the plug would.',
    since: '0.14',
    examples: [{ returns: {} }],
  }),
  'query-name': command({
    doc: "The machine's name, from -name.",
    returns: struct('NameInfo', "The machine's name.", { name: optional(str) }),
    since: '0.14',
    examples: [{}],
  }),
  'query-uuid': command({
    doc: "The machine's UUID, from -uuid; zeros when there is none.",
    returns: struct('UuidInfo', "The machine's UUID.", { UUID: field(str) }),
    since: '0.14',
    examples: [{}],
  }),
  'query-target': command({
    doc: 'The architecture of the guest.',
    returns: struct('TargetInfo', 'The guest.', {
      arch: field(enumOf('SysEmuTarget', 'An architecture.', ['x86_64']), 'its architecture'),
    }),
    since: '1.2',
    examples: [{ returns: { arch: 'x86_64' } }],
  }),
  'query-kvm': command({
    doc: 'Whether the CPU of the host runs the guest.',
    returns: struct('KvmInfo', 'About KVM.', {
      enabled: field(bool, 'it runs this machine'),
      present: field(bool, 'it could'),
    }),
    since: '0.14',
    examples: [{}],
  }),
} as const;

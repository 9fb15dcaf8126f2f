/** The QEMU-compatible front: command line, QMP and the human monitor, from one schema. */
export { Chardev, type CharFrontend, type CharLine } from './chardev/chardev.ts';
export { joinSerial } from './chardev/serial.ts';
export { execute } from './commands/index.ts';
export { Emulator, type EmulatorEnd, type EmulatorHost } from './emulator/emulator.ts';
export { addGdbStub, addMonitor } from './emulator/monitors.ts';
export { QEMU_VERSION_TEXT } from './emulator/version.ts';
export { DECODER_LIMITS, type Decoded, JsonDecoder } from './json/decoder.ts';
export { encodeJson } from './json/encode.ts';
export { parseJson } from './json/parse.ts';
export { type Abilities, buildConfig } from './options/build.ts';
export { type CommandLine, parseCommandLine } from './options/command-line.ts';
export type { BlockNodeConfig, ChardevConfig, DiskConfig, SystemConfig } from './options/config.ts';
export { helpText, optionHelp } from './options/describe.ts';
export { commands, events, schema } from './qapi/index.ts';
export { QmpError } from './qmp/errors.ts';
export { QmpSession } from './qmp/session.ts';
export { introspect } from './schema/introspect.ts';
export { referencePage } from './schema/reference.ts';

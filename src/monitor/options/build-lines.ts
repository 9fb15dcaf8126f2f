/** Serial ports, monitors and gdb, and the character devices that they make. */
import { UserError } from '../../base/index.ts';
import { readLine } from './char-line.ts';
import { forOption } from './command-line.ts';
import type { ChardevConfig, MonitorConfig } from './config.ts';
import type { MachineSpec } from './devices.ts';
import { forEachOption, type Given } from './given.ts';
import { ParamReader } from './opts.ts';

const SERIAL_PORTS = 4;

/** The chardev on which gdb may connect. */
export function readGdb(given: Given, machine: MachineSpec, chardevs: ChardevConfig[]): string | undefined {
  const text = given.value('gdb') ?? (given.has('s') ? 'tcp::1234' : undefined);
  if (text === undefined || text === 'none') return undefined;
  return forOption(given.all('gdb', 's')[0], () => {
    if (machine.pciBus === undefined) throw new UserError(`machine ${machine.name} has nothing to debug`);
    const isSocket = /^(tcp|unix):/.test(text) && !/,server/.test(text);
    const read = readLine(isSocket ? `${text},server=on,wait=off` : text, 'gdb');
    if (read?.kind === 'new') chardevs.push(read.config);
    return read?.kind === 'new' ? 'gdb' : read?.id;
  });
}

/** Serial ports and monitors, the default ones too; chardevs that they make are added. */
export function readLines(given: Given, machine: MachineSpec, chardevs: ChardevConfig[]) {
  const monitors: MonitorConfig[] = [];
  const onTerminal = given.has('nographic') && !given.has('daemonize');
  const defaults = !given.has('nodefaults');
  const use = (line: string, id: string): string | undefined => {
    const read = readLine(line, id);
    if (read?.kind !== 'new') return read?.id;
    // Lines on the one terminal share it.
    const shared = chardevs.find(({ backend, mux }) => backend.kind === 'stdio' && mux);
    if (read.config.backend.kind === 'stdio' && shared !== undefined && read.config.mux) return shared.id;
    chardevs.push(read.config);
    return id;
  };
  const addMonitor = (chardev: string | undefined, mode: MonitorConfig['mode'], pretty = false) => {
    if (chardev !== undefined) monitors.push({ chardev, mode, pretty });
  };
  const serial: (string | undefined)[] = new Array(SERIAL_PORTS).fill(undefined);
  const asked = given.all('serial');
  if (asked.length > SERIAL_PORTS) throw new UserError(`-serial: there are ${SERIAL_PORTS} serial ports`);
  for (const [index, option] of asked.entries()) {
    forOption(option, () => {
      serial[index] = use(option.value, `serial${index}`);
      if (option.value.startsWith('mon:')) addMonitor(serial[index], 'readline');
    });
  }
  const monitorsAsked = given.has('monitor') || given.has('mon');
  const hasSerialDevice = given
    .all('device')
    .some(({ params }) => params.some(([k, v]) => k === 'driver' && v === 'isa-serial'));
  if (machine.pciBus !== undefined && defaults && asked.length === 0 && !hasSerialDevice) {
    serial[0] = use(onTerminal ? (monitorsAsked ? 'stdio' : 'mon:stdio') : 'null', 'serial0');
    if (onTerminal && !monitorsAsked) addMonitor(serial[0], 'readline');
  } else if (onTerminal && !monitorsAsked && defaults && !asked.some(({ value }) => value.includes('stdio'))) {
    addMonitor(use('stdio', 'compat_monitor0'), 'readline');
  }
  const kinds = { monitor: ['readline', false], qmp: ['control', false], 'qmp-pretty': ['control', true] } as const;
  for (const [index, option] of given.all('monitor', 'qmp', 'qmp-pretty').entries()) {
    const [mode, pretty] = kinds[option.name as keyof typeof kinds];
    forOption(option, () => addMonitor(use(option.value, `compat_monitor${index}`), mode, pretty));
  }
  forEachOption(given.all('mon'), ({ params }) => {
    const reader = new ParamReader(params);
    addMonitor(
      reader.required('chardev'),
      reader.oneOf('mode', ['readline', 'control']) ?? 'readline',
      reader.switch('pretty'),
    );
  });
  return { monitors, serial };
}

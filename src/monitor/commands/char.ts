/** Handlers of qapi/char.ts. */
import type { CharBackendSpec } from '../../contract/index.ts';
import { isRing } from '../chardev/memory.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { readChardev } from '../options/char-line.ts';
import { backendKinds, type charCommands } from '../qapi/char.ts';
import { deviceNotFound, QmpError } from '../qmp/errors.ts';
import { base64, bytesOfBase64 } from './base64.ts';
import { DONE, type Handlers } from './handler.ts';

type Backend = Parameters<Handlers<'chardev-add'>['chardev-add']>[1]['backend'];

export const charHandlers: Handlers<keyof typeof charCommands> = {
  'query-chardev': ({ chardevs }) =>
    [...chardevs.values()].map(({ id, backend, isUsed }) => ({
      'frontend-open': isUsed,
      filename: backend.label,
      label: id,
    })),
  'query-chardev-backends': () => backendKinds.values.map((name) => ({ name })),
  async 'chardev-add'(emulator, { id, backend }) {
    if (emulator.chardevs.has(id)) throw new QmpError(`Chardev with id '${id}' already exists`);
    const config = readChardev([['backend', backend.type], ['id', id], ...paramsOf(backend)]);
    const chardev = await emulator.addChardev({ ...config, backend: withoutWaiting(config.backend) });
    return backend.type === 'pty' ? { pty: chardev.backend.label.replace(/^pty:/, '') } : {};
  },
  async 'chardev-remove'(emulator, { id }) {
    const chardev = emulator.chardevs.get(id);
    if (chardev === undefined) throw new QmpError(`Chardev '${id}' not found`);
    if (chardev.isUsed) throw new QmpError(`Chardev '${id}' is busy`);
    await chardev.backend.close();
    emulator.chardevs.delete(id);
    return DONE;
  },
  'ringbuf-write'(emulator, { device, data, format = 'utf8' }) {
    ringOf(emulator, device).write(format === 'utf8' ? new TextEncoder().encode(data) : bytesOfBase64(data));
    return DONE;
  },
  'ringbuf-read'(emulator, { device, size, format = 'utf8' }) {
    if (size <= 0) throw new QmpError('size must be greater than zero');
    const bytes = ringOf(emulator, device).take(size);
    return format === 'utf8' ? new TextDecoder().decode(bytes) : base64(bytes);
  },
};

function ringOf({ chardevs }: Emulator, id: string) {
  const chardev = chardevs.get(id);
  if (chardev === undefined) throw deviceNotFound(id);
  if (!isRing(chardev.backend)) throw new QmpError(`${id} is not a ringbuf device`);
  return chardev.backend;
}

/** A command does not wait for somebody to connect. */
function withoutWaiting<B extends { readonly kind: string }>(backend: B): B {
  return backend.kind === 'socket' ? { ...(backend as CharBackendSpec & B), wait: false } : backend;
}

/** The backend's parameters as -chardev writes them, so that one place reads both. */
function paramsOf(backend: Backend): [string, string][] {
  const text = (value: unknown) => (typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value));
  const flat = (data: object, renamed: Readonly<Record<string, string>>): [string, string][] =>
    Object.entries(data).flatMap(([name, value]): [string, string][] =>
      typeof value === 'object' ? [] : [[renamed[name] ?? name, text(value)]],
    );
  switch (backend.type) {
    case 'file':
      return flat(backend.data, { out: 'path', in: 'input-path' });
    case 'pipe':
      return flat(backend.data, { device: 'path' });
    case 'socket': {
      const { addr } = backend.data;
      // QMP's default is a server, the command line's a client.
      const server: [string, string][] = backend.data.server === undefined ? [['server', 'on']] : [];
      return [...server, ...flat(backend.data, {}), ...flat(addr.data, { str: 'fd' })];
    }
    default:
      return flat(backend.data, {});
  }
}

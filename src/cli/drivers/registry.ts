/**
 * What images can be and where they can lie: the one list of formats,
 * protocols and filters that every program opens images by.
 */
import { UserError } from '../../base/index.ts';
import { type Format, type OpenOptions, qcow2, raw } from '../../block/core.ts';
import type { BlockNode } from '../../contract/index.ts';
import { parseBytes } from '../img/arguments.ts';
import { fileProtocol } from './file.ts';
import type { Objects } from './objects.ts';
import { type DriverOptions, take } from './options.ts';
import { luksSecret, qcow2Secret, qcowSecret } from './secrets.ts';

/** How the things at the bottom of an image are to be opened. */
export interface OpenHow {
  readonly readOnly: boolean;
  /** False: no locks, the image may be in use (-U). */
  readonly lock: boolean;
  readonly cache: CacheMode;
  /** Who waits for files: this thread, or others. */
  readonly io: 'threads' | 'blocking' | 'mixed' | 'cached';
  /** What `--object` options made: secrets and TLS credentials. */
  readonly objects: Objects;
}

/** What a cache mode of qemu-img's (-t, -T) means. */
export interface CacheMode {
  /** Past the host's page cache. */
  readonly direct: boolean;
  /** Flushes do nothing. */
  readonly noFlush: boolean;
  /** Each write is flushed before it is acknowledged. */
  readonly writeThrough: boolean;
}

/** Where the bytes of an image lie. */
export interface Protocol {
  /** What `driver=` calls it. */
  readonly name: string;
  /** Takes names that are its own, e.g. `nbd://…`, apart; undefined for others. */
  readonly parse?: (name: string) => DriverOptions | undefined;
  /** Takes the options that it knows out of `options`; what is left is refused by the caller. */
  readonly open: (options: DriverOptions, how: OpenHow) => Promise<BlockNode> | BlockNode;
  /** Makes an image of zeros; absent where one can only use what is there. */
  readonly create?: (options: DriverOptions, sizeBytes: number) => Promise<void>;
}

/** A node that stands on another one, `file` (or `image`) in its options. */
export interface Filter {
  readonly name: string;
  /** Takes the options that it knows out of `options`. It closes `child` when it is closed. */
  readonly open: (child: BlockNode, options: DriverOptions, how: OpenHow) => Promise<BlockNode> | BlockNode;
}

export interface FormatDriver {
  readonly name: string;
  /** Most images are of two formats: the code of the others is loaded when it is needed. */
  readonly load: () => Promise<Format>;
  /** Takes the options that the format knows, beyond `file` and `backing`, out of `options`. */
  readonly openOptions?: (options: DriverOptions, how: OpenHow) => Partial<OpenOptions>;
}

/** raw's `offset` and `size`: a part of the file. */
const rawWindow: FormatDriver['openOptions'] = (options) => {
  const [offset, size] = [take(options, 'offset'), take(options, 'size')];
  if (offset === undefined && size === undefined) return {};
  const offsetBytes = parseBytes(offset ?? '0', 'offset');
  return { window: { offsetBytes, ...(size === undefined ? {} : { sizeBytes: parseBytes(size, 'size') }) } };
};

const allFormats = () => import('../../block/index.ts');

export const FORMAT_DRIVERS: readonly FormatDriver[] = [
  { name: 'qcow2', load: async () => qcow2, openOptions: qcow2Secret },
  { name: 'vdi', load: async () => (await allFormats()).vdi },
  { name: 'vpc', load: async () => (await allFormats()).vhd },
  { name: 'vhdx', load: async () => (await allFormats()).vhdx },
  { name: 'vmdk', load: async () => (await allFormats()).vmdk },
  { name: 'qcow', load: async () => (await allFormats()).qcow, openOptions: qcowSecret },
  { name: 'luks', load: async () => (await allFormats()).luks, openOptions: luksSecret },
  { name: 'cow', load: async () => (await allFormats()).cow },
  { name: 'parallels', load: async () => (await allFormats()).parallels },
  { name: 'dmg', load: async () => (await allFormats()).dmg },
  { name: 'bochs', load: async () => (await allFormats()).bochs },
  { name: 'cloop', load: async () => (await allFormats()).cloop },
  { name: 'raw', load: async () => raw, openOptions: rawWindow },
];

const nbdProtocol: Protocol = {
  name: 'nbd',
  parse: (name) => (/^nbd(:|s?(\+(tcp|unix))?:\/\/)/.test(name) ? new Map([['uri', name]]) : undefined),
  open: async (options, how) => (await import('./nbd.ts')).openNbdNode(options, how),
};

function httpProtocol(name: 'http' | 'https'): Protocol {
  return {
    name,
    parse: (text) => (text.startsWith(`${name}://`) ? new Map([['url', text]]) : undefined),
    open: async (options, how) => (await import('./http.ts')).openHttpNode(name, options, how),
  };
}

const rbdProtocol: Protocol = {
  name: 'rbd',
  parse: (name) => (name.startsWith('rbd:') ? new Map([['filename', name]]) : undefined),
  open: async (options, how) => (await import('./rbd.ts')).rbdDriver.open(options, how),
  create: async (options, sizeBytes) => (await import('./rbd.ts')).rbdDriver.create(options, sizeBytes),
};

export const PROTOCOLS: readonly Protocol[] = [
  ...[fileProtocol, nbdProtocol, rbdProtocol],
  ...[httpProtocol('http'), httpProtocol('https')],
];

/** Filters by name; their code is loaded when one is asked for. */
export const FILTERS: readonly Filter[] = (['throttle', 'copy-on-read'] as const).map((name) => ({
  name,
  open: async (child, options, how) => (await import('./filters.ts')).FILTER_DRIVERS[name].open(child, options, how),
}));

export function formatDriverNamed(name: string): FormatDriver {
  const found = FORMAT_DRIVERS.find((driver) => driver.name === name);
  if (found === undefined) throw new UserError(`Unknown driver '${name}'`);
  return found;
}

export function protocolNamed(name: string): Protocol | undefined {
  return PROTOCOLS.find((protocol) => protocol.name === name);
}

export function filterNamed(name: string): Filter | undefined {
  return FILTERS.find((filter) => filter.name === name);
}

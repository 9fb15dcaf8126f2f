/**
 * What images can be and where they can lie: the one list of formats,
 * protocols and filters that every program opens images by.
 */
import { UserError } from '../../base/index.ts';
import {
  bochs,
  cloop,
  cow,
  dmg,
  type Format,
  luks,
  type OpenOptions,
  parallels,
  qcow,
  qcow2,
  raw,
  vdi,
  vhd,
  vhdx,
  vmdk,
} from '../../block/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { parseBytes } from '../img/arguments.ts';
import { fileProtocol } from './file.ts';
import { FILTER_DRIVERS } from './filters.ts';
import { httpProtocol, httpsProtocol } from './http.ts';
import { nbdProtocol } from './nbd.ts';
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
}

/** A node that stands on another one, `file` (or `image`) in its options. */
export interface Filter {
  readonly name: string;
  /** Takes the options that it knows out of `options`. It closes `child` when it is closed. */
  readonly open: (child: BlockNode, options: DriverOptions, how: OpenHow) => Promise<BlockNode> | BlockNode;
}

export interface FormatDriver {
  readonly format: Format;
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

export const FORMAT_DRIVERS: readonly FormatDriver[] = [
  { format: qcow2, openOptions: qcow2Secret },
  { format: vdi },
  { format: vhd },
  { format: vhdx },
  { format: vmdk },
  { format: qcow, openOptions: qcowSecret },
  { format: luks, openOptions: luksSecret },
  { format: cow },
  { format: parallels },
  { format: dmg },
  { format: bochs },
  { format: cloop },
  { format: raw, openOptions: rawWindow },
];
export const PROTOCOLS: readonly Protocol[] = [fileProtocol, nbdProtocol, httpProtocol, httpsProtocol];
export const FILTERS: readonly Filter[] = FILTER_DRIVERS;

export const FORMATS: readonly Format[] = FORMAT_DRIVERS.map(({ format }) => format);

export function formatNamed(name: string): Format {
  return formatDriverNamed(name).format;
}

export function formatDriverNamed(name: string): FormatDriver {
  const found = FORMAT_DRIVERS.find(({ format }) => format.name === name);
  if (found === undefined) throw new UserError(`Unknown driver '${name}'`);
  return found;
}

export function protocolNamed(name: string): Protocol | undefined {
  return PROTOCOLS.find((protocol) => protocol.name === name);
}

export function filterNamed(name: string): Filter | undefined {
  return FILTERS.find((filter) => filter.name === name);
}

/** The text that says what a VMDK disk is made of (VMware, "Virtual Disk Format 5.0", "The Descriptor File"). */
import { UserError } from '../../base/index.ts';

export interface VmdkExtent {
  readonly access: 'RW' | 'RDONLY' | 'NOACCESS';
  readonly sectors: number;
  readonly type: string;
  /** Absent for ZERO extents, which have none. */
  readonly filename?: string;
  /** Where a flat extent's data begins in its file, in sectors. */
  readonly offset: number;
}

export interface VmdkDescriptor {
  /** Names the content; changes when the disk is changed. */
  readonly cid: number;
  /** The CID that the parent had when this disk was made; `NO_PARENT` for none. */
  readonly parentCid: number;
  readonly createType: string;
  readonly parentHint?: string;
  readonly extents: readonly VmdkExtent[];
}

export const NO_PARENT = 0xffffffff;
const EXTENTS_MAX = 4096;
const SECTORS_MAX = 2 ** 44;
const LINE = /^(RW|RDONLY|NOACCESS)\s+(\d+)\s+([A-Z]+)(?:\s+"([^"]+)"(?:\s+(\d+))?)?(?:\s.*)?$/;

/** True for a text that can only be a descriptor: comments, and then its version. */
export function looksLikeDescriptor(text: string): boolean {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.find((line) => line !== '' && !line.startsWith('#'))?.match(/^version\s*=\s*[123]$/i) != null;
}

/** @throws UserError that names the line */
export function parseDescriptor(text: string, name: string): VmdkDescriptor {
  const bad = (what: string): never => {
    throw new UserError(`${name}: not a usable VMDK descriptor: ${what}`);
  };
  const values = new Map<string, string>();
  const extents: VmdkExtent[] = [];
  for (const [number, whole] of text.split('\0', 1)[0].split('\n').entries()) {
    const line = whole.trim();
    if (line === '' || line.startsWith('#')) continue;
    const setting = /^([A-Za-z_][\w.]*)\s*=\s*(?:"([^"]*)"|(.*))$/.exec(line);
    if (setting !== null) {
      values.set(setting[1].toLowerCase(), setting[2] ?? setting[3]);
      continue;
    }
    const extent = LINE.exec(line);
    if (extent === null) return bad(`line ${number + 1} is neither a setting nor an extent: ${line.slice(0, 60)}`);
    if (extents.length >= EXTENTS_MAX) bad(`it has more than ${EXTENTS_MAX} extents`);
    extents.push(extentOf(extent, number + 1, bad));
  }
  const number = (key: string, standard?: number): number => {
    const value = values.get(key);
    if (value === undefined && standard !== undefined) return standard;
    if (value === undefined || !/^[0-9a-f]{1,8}$/i.test(value))
      return bad(`${key} must be a hexadecimal number of 32 bits`);
    return Number.parseInt(value, 16);
  };
  const hint = values.get('parentfilenamehint');
  return {
    cid: number('cid'),
    parentCid: number('parentcid', NO_PARENT),
    createType: values.get('createtype') ?? bad('createType is missing'),
    ...(hint ? { parentHint: hint } : {}),
    extents,
  };
}

function extentOf(match: RegExpExecArray, line: number, bad: (what: string) => never): VmdkExtent {
  const [, access, sectors, type, filename, offset] = match;
  if (Number(sectors) > SECTORS_MAX || Number(offset ?? 0) > SECTORS_MAX)
    bad(`line ${line}: more than ${SECTORS_MAX} sectors`);
  if (filename === undefined && type !== 'ZERO') bad(`line ${line}: an extent of type ${type} needs a file name`);
  return {
    access: access as VmdkExtent['access'],
    sectors: Number(sectors),
    type,
    offset: Number(offset ?? 0),
    ...(filename === undefined ? {} : { filename }),
  };
}

/** Where the eight digits of the CID are in a descriptor, or undefined. */
export function cidPosition(text: string): number | undefined {
  const match = /^[ \t]*CID[ \t]*=[ \t]*(?=[0-9a-fA-F]{8}\s)/m.exec(text);
  return match === null ? undefined : match.index + match[0].length;
}

export function cidText(cid: number): string {
  return cid.toString(16).padStart(8, '0');
}

export const ADAPTER_TYPES = ['ide', 'buslogic', 'lsilogic', 'legacyESX'] as const;
export type VmdkAdapter = (typeof ADAPTER_TYPES)[number];

export interface DescriptorValues extends VmdkDescriptor {
  readonly adapter: VmdkAdapter;
  readonly hardwareVersion: string;
  readonly toolsVersion: string;
}

export function descriptorText(values: DescriptorValues): string {
  const { extents, adapter, parentHint } = values;
  const sectors = extents.reduce((sum, extent) => sum + extent.sectors, 0);
  const heads = adapter === 'ide' ? 16 : 255;
  const cylinders = Math.min(Math.floor(sectors / (63 * heads)), 2 ** 31 - 1);
  const extentLine = ({ access, sectors, type, filename, offset }: VmdkExtent) =>
    `${access} ${sectors} ${type} "${filename}"${type === 'FLAT' ? ` ${offset}` : ''}`;
  return [
    '# Disk DescriptorFile',
    'version=1',
    `CID=${cidText(values.cid)}`,
    `parentCID=${cidText(values.parentCid)}`,
    `createType="${values.createType}"`,
    ...(parentHint === undefined ? [] : [`parentFileNameHint="${parentHint}"`]),
    '',
    '# Extent description',
    ...extents.map(extentLine),
    '',
    '# The Disk Data Base',
    '#DDB',
    '',
    `ddb.virtualHWVersion = "${values.hardwareVersion}"`,
    `ddb.geometry.cylinders = "${cylinders}"`,
    `ddb.geometry.heads = "${heads}"`,
    'ddb.geometry.sectors = "63"',
    `ddb.adapterType = "${adapter}"`,
    `ddb.toolsVersion = "${values.toolsVersion}"`,
    '',
  ].join('\n');
}

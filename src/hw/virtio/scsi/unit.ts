/** A SCSI unit: a disk or a CD-ROM drive with a block node in it. */
import type { BlockNode } from '../../../contract/index.ts';

export interface ScsiUnit {
  readonly kind: 'disk' | 'cdrom';
  readonly node: BlockNode;
  readonly blockBytes: number;
  readonly readOnly: boolean;
  readonly canUnmap: boolean;
  readonly serial: string;
}

export interface ScsiUnitOptions {
  readonly kind: ScsiUnit['kind'];
  readonly node: BlockNode;
  /** At most 20 characters of ASCII. */
  readonly serial: string;
}

const DISK_BLOCK_BYTES = 512;
const CD_BLOCK_BYTES = 2048;

export function scsiUnit({ kind, node, serial }: ScsiUnitOptions): ScsiUnit {
  const readOnly = node.readOnly || kind === 'cdrom';
  const blockBytes = kind === 'cdrom' ? CD_BLOCK_BYTES : DISK_BLOCK_BYTES;
  return { kind, node, serial, readOnly, blockBytes, canUnmap: !readOnly && node.discard !== undefined };
}

/** Whole blocks; a last part of one is out of reach. */
export function blockCount({ node, blockBytes }: ScsiUnit): number {
  return Math.floor(node.sizeBytes / blockBytes);
}

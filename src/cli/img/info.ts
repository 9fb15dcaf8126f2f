/** vireo-img info. */
import { existsSync } from 'node:fs';
import type { ImageInfo, SnapshotInfo } from '../../block/core.ts';
import { allocatedBytes } from '../../host/node/block.ts';
import { oneName, parseArguments, wantsJson } from './arguments.ts';
import { type OpenedImage, openImage, openOptions, resolveName } from './images.ts';
import { sizeText, snapshotTable, specificText } from './text.ts';

export async function infoCommand(argv: readonly string[]): Promise<number> {
  const specs = { f: 'value', U: 'flag', output: 'value', 'backing-chain': 'flag', 'image-opts': 'flag' } as const;
  const args = parseArguments(specs, argv);
  const json = wantsJson(args);
  const withChain = args.has('backing-chain');
  const image = await openImage(oneName(args), { ...openOptions(args), withoutBacking: !withChain });
  const images = [image, ...image.backings];
  const text = json ? jsonText(images, withChain) : images.map(humanText).join('\n');
  await image.node.close();
  process.stdout.write(text);
  return 0;
}

function jsonText(images: readonly OpenedImage[], withChain: boolean): string {
  const records = images.map(record);
  return `${JSON.stringify(withChain ? records : records[0], null, 4)}\n`;
}

/** What the image takes on the host, with the other files of its data. */
function actualBytes(filename: string, { dataFiles = [] }: ImageInfo): number {
  return [filename, ...dataFiles].reduce((sum, name) => sum + (existsSync(name) ? allocatedBytes(name) : 0), 0);
}

/** Names as in QAPI's ImageInfo. */
function record({ filename, node }: OpenedImage): Record<string, unknown> {
  const { backing, clusterBytes, specific, dirty, encrypted } = node.info;
  const snapshots = node.snapshots?.list() ?? [];
  return {
    ...(backing?.format === undefined ? {} : { 'backing-filename-format': backing.format }),
    ...(snapshots.length === 0 ? {} : { snapshots: snapshots.map(snapshotRecord) }),
    'virtual-size': node.sizeBytes,
    filename,
    ...(clusterBytes === undefined ? {} : { 'cluster-size': clusterBytes }),
    format: node.format,
    ...(!existsSync(filename) ? {} : { 'actual-size': actualBytes(filename, node.info) }),
    ...(specific === undefined ? {} : { 'format-specific': specific }),
    ...(backing === undefined
      ? {}
      : { 'full-backing-filename': resolveName(filename, backing.filename), 'backing-filename': backing.filename }),
    ...(encrypted === true ? { encrypted } : {}),
    ...(!existsSync(filename) && dirty === undefined ? {} : { 'dirty-flag': dirty ?? false }),
  };
}

function snapshotRecord(snapshot: SnapshotInfo): Record<string, unknown> {
  return {
    ...(snapshot.instructionCount === undefined ? {} : { icount: snapshot.instructionCount }),
    'vm-clock-nsec': snapshot.vmClockNanos % 1e9,
    name: snapshot.name,
    'date-sec': snapshot.dateSeconds,
    'date-nsec': snapshot.dateNanos,
    'vm-clock-sec': Math.floor(snapshot.vmClockNanos / 1e9),
    id: snapshot.id,
    'vm-state-size': snapshot.vmStateBytes,
  };
}

function humanText({ filename, node }: OpenedImage): string {
  const { backing, clusterBytes, specific, dirty, encrypted } = node.info;
  const lines = [
    `image: ${filename}`,
    `file format: ${node.format}`,
    `virtual size: ${sizeText(node.sizeBytes)} (${node.sizeBytes} bytes)`,
    `disk size: ${existsSync(filename) ? sizeText(actualBytes(filename, node.info)) : 'unavailable'}`,
  ];
  if (encrypted === true) lines.push('encrypted: yes');
  if (clusterBytes !== undefined) lines.push(`cluster_size: ${clusterBytes}`);
  if (dirty === true) lines.push('cleanly shut down: no');
  if (backing !== undefined) {
    const full = resolveName(filename, backing.filename);
    lines.push(`backing file: ${backing.filename}${full === backing.filename ? '' : ` (actual path: ${full})`}`);
    if (backing.format !== undefined) lines.push(`backing file format: ${backing.format}`);
  }
  const snapshots = node.snapshots?.list() ?? [];
  const tail = snapshots.length === 0 ? '' : `Snapshot list:\n${snapshotTable(snapshots)}`;
  const details = specific === undefined ? '' : `Format specific information:\n${specificText(specific.data)}`;
  return `${lines.join('\n')}\n${tail}${details}`;
}

/** The log that makes changes of metadata whole ([MS-VHDX] 2.3). */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { joinBytes, u64le, viewOf } from '../layout.ts';
import { growFile } from '../mapped.ts';
import { alignUp, zeroRange } from '../request.ts';
import {
  dataSectorLayout,
  descriptorLayout,
  equalBytes,
  isSealed,
  type LogEntry,
  logEntryLayout,
  MIB,
  SECTOR_BYTES,
  SIGNATURE,
  seal,
  type VhdxHeader,
} from './layout.ts';

/** A change of the file that an entry tells of. */
export type LogUpdate =
  | { readonly kind: 'data'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number };

export interface LogSequence {
  /** In order; later ones win. */
  readonly updates: readonly LogUpdate[];
  /** The file must have at least so many bytes, or something is lost. */
  readonly flushedBytes: number;
  /** The file is brought to this size. */
  readonly lastBytes: number;
}

interface Search {
  readonly file: BlockNode;
  readonly header: VhdxHeader;
  readonly name: string;
  /** Bytes that may still be summed. */
  budget: number;
}

interface FoundEntry {
  readonly at: number;
  readonly entry: LogEntry;
}

const UPDATES_MAX = 2 ** 16;
/** The largest disk with all that belongs to it. */
const FILE_MAX_BYTES = 65 * 2 ** 40;
/** Broken entries may be looked at until so many bytes were summed: this, and several times the log. */
const BUDGET = { bytes: 2 ** 24, logs: 8 } as const;

/**
 * The newest unbroken run of entries, or undefined where the log has none.
 * Memory: the entries' headers, and what the run says.
 */
export async function findLogSequence(
  file: BlockNode,
  header: VhdxHeader,
  name: string,
): Promise<LogSequence | undefined> {
  const { logBytes } = header;
  const search: Search = { file, header, name, budget: BUDGET.bytes + BUDGET.logs * logBytes };
  let best: readonly FoundEntry[] | undefined;
  for (let start = 0; start < logBytes; ) {
    const run = await runFrom(search, start);
    const last = run.at(-1);
    if (last === undefined) {
      start += SECTOR_BYTES;
      continue;
    }
    const isWhole = run.some(({ at }) => at === last.entry.tail);
    if (isWhole && (best === undefined || last.entry.sequence > best[best.length - 1].entry.sequence)) best = run;
    const end = last.at + last.entry.length;
    // Where it goes round the end, everything was seen.
    if (run.some(({ at, entry }) => at + entry.length > logBytes) || end <= start) break;
    start = end;
  }
  if (best === undefined) return undefined;
  const { entry: newest } = best[best.length - 1];
  const { flushedBytes, lastBytes } = newest;
  if (lastBytes > FILE_MAX_BYTES || flushedBytes > FILE_MAX_BYTES)
    throw new UserError(`${name}: not a usable VHDX image: its log wants a file of ${lastBytes} bytes`);
  const limit = Math.max(file.sizeBytes, lastBytes);
  const from = best.findIndex(({ at }) => at === newest.tail);
  const updates: LogUpdate[] = [];
  for (const { at, entry } of best.slice(from)) {
    const bytes = await readCircular(file, header, at, entry.length);
    updates.push(...updatesOf(bytes, entry, limit, name));
    if (updates.length > UPDATES_MAX) throw new UserError(`${name}: its log has more than ${UPDATES_MAX} updates`);
  }
  return { updates, flushedBytes, lastBytes };
}

/** Valid entries one behind the other, from `start` on. */
async function runFrom(search: Search, start: number): Promise<FoundEntry[]> {
  const { header } = search;
  const run: FoundEntry[] = [];
  let total = 0;
  for (let at = start; total < header.logBytes; ) {
    const entry = await entryAt(search, at, header.logBytes - total);
    const before = run.at(-1);
    if (entry === undefined || (before !== undefined && entry.sequence !== before.entry.sequence + 1)) break;
    run.push({ at, entry });
    total += entry.length;
    at = (at + entry.length) % header.logBytes;
  }
  return run;
}

async function entryAt(search: Search, at: number, room: number): Promise<LogEntry | undefined> {
  const { file, header, name } = search;
  const first = await readCircular(file, header, at, SECTOR_BYTES);
  const entry = logEntryLayout.read(first);
  const { length, sequence, tail, descriptors } = entry;
  const isPlausible =
    entry.signature === SIGNATURE.logEntry &&
    equalBytes(entry.logGuid, header.logGuid) &&
    length >= SECTOR_BYTES &&
    length % SECTOR_BYTES === 0 &&
    length <= room &&
    sequence > 0 &&
    sequence < Number.MAX_SAFE_INTEGER &&
    tail % SECTOR_BYTES === 0 &&
    tail < header.logBytes &&
    headBytes(descriptors) <= length;
  if (!isPlausible) return undefined;
  search.budget -= length;
  if (search.budget < 0) throw new UserError(`${name}: not a usable VHDX image: its log has too many broken entries`);
  const bytes = await readCircular(file, header, at, length);
  return isSealed(bytes) && hasSectors(bytes, entry) ? entry : undefined;
}

/** Sectors of the entry's header and descriptors. */
function headBytes(descriptors: number): number {
  return alignUp(logEntryLayout.size + descriptors * descriptorLayout.size, SECTOR_BYTES);
}

/** Descriptors and data belong to this entry, and there is as much data as they say. */
function hasSectors(bytes: Uint8Array, { descriptors, sequence }: LogEntry): boolean {
  let at = headBytes(descriptors);
  for (let i = 0; i < descriptors; i += 1) {
    const descriptor = descriptorLayout.read(bytes, logEntryLayout.size + i * descriptorLayout.size);
    if (descriptor.sequence !== sequence) return false;
    if (descriptor.signature === SIGNATURE.zero) continue;
    if (descriptor.signature !== SIGNATURE.data || at + SECTOR_BYTES > bytes.length) return false;
    const { signature, sequenceHigh, sequenceLow } = dataSectorLayout.read(bytes, at);
    if (signature !== SIGNATURE.sector || sequenceHigh * 2 ** 32 + sequenceLow !== sequence) return false;
    at += SECTOR_BYTES;
  }
  return true;
}

function updatesOf(bytes: Uint8Array, entry: LogEntry, limit: number, name: string): LogUpdate[] {
  const updates: LogUpdate[] = [];
  let at = headBytes(entry.descriptors);
  for (let i = 0; i < entry.descriptors; i += 1) {
    const place = logEntryLayout.size + i * descriptorLayout.size;
    const { signature, leading, trailing, offset } = descriptorLayout.read(bytes, place);
    const isZero = signature === SIGNATURE.zero;
    const length = isZero ? u64le.get(viewOf(leading), 0) : SECTOR_BYTES;
    if (offset % SECTOR_BYTES !== 0 || length % SECTOR_BYTES !== 0 || offset + length > limit)
      throw new UserError(`${name}: not a usable VHDX image: its log tells of ${length} bytes at ${offset}`);
    if (isZero) updates.push({ kind: 'zero', offset, length });
    else {
      const { data } = dataSectorLayout.read(bytes, at);
      updates.push({ kind: 'data', offset, bytes: joinBytes([leading, data, trailing]) });
      at += SECTOR_BYTES;
    }
  }
  return updates;
}

async function readCircular(file: BlockNode, header: VhdxHeader, at: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  const first = Math.min(length, header.logBytes - at);
  await file.read(header.logOffset + at, bytes.subarray(0, first));
  if (first < length) await file.read(header.logOffset, bytes.subarray(first));
  return bytes;
}

/** Brings what a log says into the file. */
export async function applyLog(file: BlockNode, { updates, lastBytes }: LogSequence): Promise<void> {
  for (const update of updates) {
    if (update.kind === 'data') await file.write(update.offset, update.bytes);
    else await zeroRange(file, update.offset, Math.max(0, Math.min(update.length, file.sizeBytes - update.offset)));
  }
  if (lastBytes > file.sizeBytes) await growFile(file, lastBytes);
  await file.flush();
}

/** The file as it is once its log was applied, for those who may not write to it. */
export function withLog(file: BlockNode, { updates, lastBytes }: LogSequence): BlockNode {
  const sizeBytes = Math.max(file.sizeBytes, lastBytes);
  return {
    sizeBytes,
    readOnly: true,
    limits: file.limits,
    async read(offset, target) {
      const present = Math.max(0, Math.min(target.length, file.sizeBytes - offset));
      if (present > 0) await file.read(offset, target.subarray(0, present));
      target.fill(0, present);
      for (const update of updates) {
        const length = update.kind === 'data' ? update.bytes.length : update.length;
        const from = Math.max(offset, update.offset);
        const to = Math.min(offset + target.length, update.offset + length);
        if (from >= to) continue;
        if (update.kind === 'zero') target.fill(0, from - offset, to - offset);
        else target.set(update.bytes.subarray(from - update.offset, to - update.offset), from - offset);
      }
    },
    async write() {
      throw new IoError('read-only', 'it is open for reading only');
    },
    flush: async () => {},
    extents: (offset, length) => file.extents(offset, length),
    close: () => file.close(),
  };
}

/** Sectors that one entry can hold: at most half of the log, so that the entry before stays whole until it is. */
export function logSectorsMax(logBytes: number): number {
  let sectors = logBytes / 2 / SECTOR_BYTES - 1;
  while (headBytes(sectors) + sectors * SECTOR_BYTES > logBytes / 2) sectors -= 1;
  return sectors;
}

export interface LogWriter {
  /** Writes an entry; it counts once it was flushed. */
  append(sectors: readonly { readonly offset: number; readonly bytes: Uint8Array }[]): Promise<void>;
}

/** Writes entries for `guid`. Each stands for itself: those before it were applied and flushed. */
export function logWriter(
  file: BlockNode,
  header: Pick<VhdxHeader, 'logOffset' | 'logBytes'>,
  guid: Uint8Array,
): LogWriter {
  let next = 0;
  let sequence = 1;
  const write = async (at: number, bytes: Uint8Array) => {
    const first = Math.min(bytes.length, header.logBytes - at);
    await file.write(header.logOffset + at, bytes.subarray(0, first));
    if (first < bytes.length) await file.write(header.logOffset, bytes.subarray(first));
  };
  return {
    async append(sectors) {
      const length = headBytes(sectors.length) + sectors.length * SECTOR_BYTES;
      const entry = logEntryLayout.write({
        signature: SIGNATURE.logEntry,
        checksum: 0,
        length,
        tail: next,
        sequence,
        descriptors: sectors.length,
        reserved: 0,
        logGuid: guid,
        flushedBytes: file.sizeBytes,
        lastBytes: alignUp(file.sizeBytes, MIB),
      });
      const descriptors = sectors.map(({ offset, bytes }) =>
        descriptorLayout.write({
          signature: SIGNATURE.data,
          trailing: bytes.subarray(SECTOR_BYTES - 4),
          leading: bytes.subarray(0, 8),
          offset,
          sequence,
        }),
      );
      const data = sectors.map(({ bytes }) =>
        dataSectorLayout.write({
          signature: SIGNATURE.sector,
          sequenceHigh: Math.floor(sequence / 2 ** 32),
          data: bytes.subarray(8, SECTOR_BYTES - 4),
          sequenceLow: sequence % 2 ** 32,
        }),
      );
      const head = joinBytes([entry, ...descriptors], headBytes(sectors.length));
      await write(next, seal(joinBytes([head, ...data])));
      next = (next + length) % header.logBytes;
      sequence += 1;
    },
  };
}

export function isEmptyLog({ logGuid }: VhdxHeader): boolean {
  return logGuid.every((byte) => byte === 0);
}

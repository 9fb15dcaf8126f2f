/** Files of a browser's own file system (OPFS; WHATWG File System, 2.6) as block nodes, in a worker. */
import { IoError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';

/** The part of FileSystemSyncAccessHandle that is used; one exists at a time for a file, which is its lock. */
export interface SyncAccessHandle {
  read(buffer: Uint8Array, options: { at: number }): number;
  write(buffer: Uint8Array, options: { at: number }): number;
  getSize(): number;
  truncate(sizeBytes: number): void;
  flush(): void;
  close(): void;
}

/** @param name names the file in complaints */
export function opfsNode(handle: SyncAccessHandle, name: string, readOnly = false): BlockNode {
  const outside = (offset: number, length: number) =>
    new IoError(
      'out-of-range',
      `${name}: ${length} bytes at ${offset} do not lie inside its ${handle.getSize()} bytes`,
    );
  const checkInside = (offset: number, length: number) => {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > handle.getSize())
      throw outside(offset, length);
  };
  const checkWritable = (offset: number) => {
    if (readOnly) throw new IoError('read-only', `${name}: it is open for reading only`);
    if (!Number.isSafeInteger(offset) || offset < 0) throw outside(offset, 0);
  };
  /** A browser's quota ends a write early, or throws. */
  const attempt = <T>(what: string, body: () => T): T => {
    try {
      return body();
    } catch (error) {
      const { name: kind, message } = error as Error;
      throw new IoError(kind === 'QuotaExceededError' ? 'no-space' : 'io', `${name}: cannot ${what}: ${message}`);
    }
  };
  return {
    get sizeBytes() {
      return handle.getSize();
    },
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: 4096 },
    async read(offset, target) {
      checkInside(offset, target.length);
      const count = attempt('read', () => handle.read(target, { at: offset }));
      if (count < target.length)
        throw new IoError('io', `${name}: only ${count} of ${target.length} bytes could be read`);
    },
    async write(offset, source) {
      checkWritable(offset);
      const count = attempt('write', () => handle.write(source, { at: offset }));
      if (count < source.length) throw new IoError('no-space', `${name}: only ${count} of ${source.length} bytes fit`);
    },
    async flush() {
      if (!readOnly) attempt('flush', () => handle.flush());
    },
    async extents(offset, length) {
      checkInside(offset, length);
      return [{ offset, length, allocated: true, zero: false, data: true, childOffset: offset }];
    },
    async resize(sizeBytes) {
      checkWritable(0);
      attempt('resize', () => handle.truncate(sizeBytes));
    },
    async close() {
      if (!readOnly) attempt('flush', () => handle.flush());
      handle.close();
    },
  };
}

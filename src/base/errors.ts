/** The kinds of failure that cross rooms. */

/**
 * Bad input from a person, an image or a peer: a wrong file, option or value.
 * The message is one line that names the thing and what would be right;
 * programs show it alone, without a stack trace.
 */
export class UserError extends Error {
  override name = 'UserError';
}

/** A device record that does not fit the device it is restored into. */
export class StateError extends UserError {
  override name = 'StateError';
  /** Path of the field inside the record, e.g. `channels[1].count`. */
  readonly field: string;
  readonly #expected: string;
  readonly #found: unknown;

  constructor(field: string, expected: string, found: unknown) {
    super(`device state: field ${field} must be ${expected}, not ${describe(found)}`);
    this.field = field;
    this.#expected = expected;
    this.#found = found;
  }

  /** The same, for a record that lies at `path` in a larger one. */
  within(path: string): StateError {
    return new StateError(`${path}.${this.field}`, this.#expected, this.#found);
  }
}

/** Our own bug: stops the machine it happens in, never the process. */
export class InternalError extends Error {
  override name = 'InternalError';
}

/** States what must hold unless we made a mistake. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InternalError(message);
}

function describe(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value === undefined) return 'missing';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  return typeof value === 'object' ? 'a record' : String(value);
}

/** Why a storage request failed. */
export type IoErrorCode = 'io' | 'no-space' | 'read-only' | 'out-of-range';

/** A storage request that failed; the message names the image and what happened. */
export class IoError extends UserError {
  override name = 'IoError';
  readonly code: IoErrorCode;

  constructor(code: IoErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** A file operation that failed, with Linux's number for why (errno(3)); what shared folders throw. */
export class FileError extends Error {
  override name = 'FileError';
  readonly errno: number;

  constructor(errno: number) {
    super(`file operation failed with errno ${errno}`);
    this.errno = errno;
  }
}

/** Numbers of Linux's include/uapi/asm-generic/errno*.h that Vireo itself gives. */
export const ERRNO = {
  notPermitted: 1,
  noEntry: 2,
  io: 5,
  badDescriptor: 9,
  noMemory: 12,
  access: 13,
  exists: 17,
  notDirectory: 20,
  isDirectory: 21,
  invalid: 22,
  tooManyFiles: 23,
  noSpace: 28,
  readOnly: 30,
  range: 34,
  nameTooLong: 36,
  notEmpty: 39,
  symlinkLoop: 40,
  noData: 61,
  protocol: 71,
  notSupported: 95,
  stale: 116,
} as const;

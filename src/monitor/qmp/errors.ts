/** Why a command failed, in QMP's terms. */
import { UserError } from '../../base/index.ts';

/** QMP's error classes; clients tell these apart and read the rest as text. */
export type QmpErrorClass = 'GenericError' | 'CommandNotFound' | 'DeviceNotActive' | 'DeviceNotFound' | 'KVMMissingCap';

export class QmpError extends UserError {
  override name = 'QmpError';
  readonly errorClass: QmpErrorClass;

  constructor(message: string, errorClass: QmpErrorClass = 'GenericError') {
    super(message);
    this.errorClass = errorClass;
  }
}

export function deviceNotFound(name: string): QmpError {
  return new QmpError(`Device '${name}' not found`, 'DeviceNotFound');
}

/** For what a command's own table cannot say: which value would have been right. */
export function invalidParameter(name: string, expected: string): QmpError {
  return new QmpError(`Parameter '${name}' expects ${expected}`);
}

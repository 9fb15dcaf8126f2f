/** What the graph refuses, with QMP's error class where clients tell it from others. */
import { UserError } from '../../base/index.ts';

export type GraphErrorClass = 'GenericError' | 'DeviceNotFound' | 'DeviceNotActive';

export class GraphError extends UserError {
  override name = 'GraphError';
  readonly errorClass: GraphErrorClass;

  constructor(message: string, errorClass: GraphErrorClass = 'GenericError') {
    super(message);
    this.errorClass = errorClass;
  }
}

export function noNode(name: string): GraphError {
  return new GraphError(`Cannot find device='${name}' nor node-name='${name}'`);
}

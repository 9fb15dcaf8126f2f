/** Drivers whose files are in memory. */
import type { BlockNode, ByteStream } from '../../contract/index.ts';
import { passThrough, throttleFilter } from '../filters/index.ts';
import type { GraphDrivers } from '../graph/drivers.ts';
import { GraphError } from '../graph/error.ts';
import { memoryNode } from '../memory.ts';
import { createQcow2, qcow2 } from '../qcow2/index.ts';
import { raw } from '../raw.ts';
import { fakeClock } from './fake-clock.ts';

export interface MemoryHost {
  readonly drivers: GraphDrivers;
  /** By name. */
  readonly files: Map<string, BlockNode>;
  /** Makes an image file. */
  make(path: string, format: string, sizeBytes: number, backing?: string): Promise<void>;
  /** What listens, if something does. */
  accept: ((stream: ByteStream) => void) | undefined;
}

export function memoryHost(): MemoryHost {
  const files = new Map<string, BlockNode>();
  const open = (path: string): BlockNode => {
    const file = files.get(path);
    if (file === undefined) throw new GraphError(`Could not open '${path}': No such file or directory`);
    return file;
  };
  const take = (options: Map<string, string>, key: string) => {
    const value = options.get(key);
    options.delete(key);
    return value;
  };
  const formats = { qcow2, raw } as const;
  const host: MemoryHost = {
    files,
    accept: undefined,
    make: (path, format, sizeBytes, backing) =>
      drivers.createImage(
        format,
        path,
        sizeBytes,
        new Map(backing === undefined ? [] : [['backing_file', backing] as const, ['backing_fmt', 'qcow2'] as const]),
      ),
    get drivers() {
      return drivers;
    },
  };
  const format = async (driver: string, node: BlockNode, sizeBytes: number, options: ReadonlyMap<string, string>) => {
    const filename = options.get('backing_file');
    if (driver === 'raw') await node.resize!(sizeBytes);
    else {
      const backing = filename === undefined ? {} : { backing: { filename, format: options.get('backing_fmt') } };
      await createQcow2(node, { sizeBytes, clusterBytes: 65536, ...backing });
    }
  };
  const drivers: GraphDrivers = {
    kindOf: (driver) =>
      ({ file: 'protocol', throttle: 'filter', qcow2: 'format', raw: 'format' })[driver] as ReturnType<
        GraphDrivers['kindOf']
      >,
    async openProtocol(_driver, options, { readOnly }) {
      return passThrough(open(take(options, 'filename') ?? ''), { readOnly, close: async () => {} });
    },
    openFilter: async (_driver, child) => throttleFilter(child, { clock: fakeClock(), limits: {} }),
    openFormat: (driver, file, _options, _how, resolving) => formats[driver as 'qcow2'].open(file, resolving),
    async probe(file) {
      const head = new Uint8Array(Math.min(512, file.sizeBytes));
      await file.read(0, head);
      return qcow2.probe(head, '') > 1 ? 'qcow2' : 'raw';
    },
    parseName: (name) =>
      new Map([
        ['file.driver', 'file'],
        ['file.filename', name],
      ]),
    resolveName: (_image, name) => name,
    async createImage(driver, path, sizeBytes, options) {
      const file = memoryNode(0);
      await format(driver, file, sizeBytes, options);
      files.set(path, file);
    },
    formatNode: format,
    allocatedBytes: () => 4096,
    clock: fakeClock(),
    breathe: async () => {},
    nowSeconds: () => 1_700_000_000,
    temporaryFile: () => memoryNode(0),
    async listen(_at, accept) {
      host.accept = accept;
      return {
        close() {
          host.accept = undefined;
        },
      };
    },
  };
  return host;
}

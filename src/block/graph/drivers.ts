/** What the graph needs of the host: drivers by name, files that are made, places to listen. */
import type { BlockNode, ByteStream, Clock, HostEndpoint } from '../../contract/index.ts';
import type { ImageNode, OpenOptions } from '../format.ts';

/** Options of a node, with dotted keys; who takes one deletes it. */
export type NodeOptions = Map<string, string>;

export interface NodeCache {
  readonly direct: boolean;
  readonly noFlush: boolean;
  readonly writeThrough: boolean;
}

/** How a node is opened, beside its own options. */
export interface NodeHow {
  readonly readOnly: boolean;
  readonly cache: NodeCache;
  /** Without locks, because another process has the image. */
  readonly lookOnly?: boolean;
}

export type DriverKind = 'protocol' | 'filter' | 'format';

export interface GraphDrivers {
  /** Undefined when there is no such driver. */
  kindOf(driver: string): DriverKind | undefined;
  /** Each takes the options that it knows out of `options`; throws UserError that names what is wrong. */
  openProtocol(driver: string, options: NodeOptions, how: NodeHow): Promise<BlockNode>;
  openFilter(driver: string, child: BlockNode, options: NodeOptions, how: NodeHow): Promise<BlockNode>;
  openFormat(
    driver: string,
    file: BlockNode,
    options: NodeOptions,
    how: NodeHow,
    resolving: OpenOptions,
  ): Promise<ImageNode>;
  /** The format of what is in a file. */
  probe(file: BlockNode, name: string): Promise<string>;
  /** A file's name, or a URI, as options with dotted keys: `file.driver`, `file.filename`. */
  parseName(name: string): NodeOptions;
  /** Where a name inside an image leads. */
  resolveName(image: string, name: string): string;
  /** Makes an image of a format, and the file that it is in. */
  createImage(driver: string, path: string, sizeBytes: number, options: ReadonlyMap<string, string>): Promise<void>;
  /** Makes an image of a format in a node that is there already. */
  formatNode(driver: string, node: BlockNode, sizeBytes: number, options: ReadonlyMap<string, string>): Promise<void>;
  /** Bytes that a file takes on the host; undefined when it is none. */
  allocatedBytes(path: string): number | undefined;
  /** Real time, for speed limits. */
  readonly clock: Clock;
  /** Resolves after what waits in the host's event loop had its turn. */
  breathe(): Promise<void>;
  /** Seconds since 1970. */
  nowSeconds(): number;
  /** A file of its own that nobody else sees and that is gone when it is closed. */
  temporaryFile(): BlockNode;
  /** Listens for NBD clients; `tls` names an object with a server's credentials. */
  listen(at: HostEndpoint, accept: (stream: ByteStream) => void, tls: string | undefined): Promise<{ close(): void }>;
}

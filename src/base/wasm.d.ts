/**
 * The WebAssembly API, for rooms that have neither the `dom` library nor another
 * one that declares it (WebAssembly JavaScript Interface, W3C). Only what Vireo uses.
 */
declare namespace WebAssembly {
  type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128' | 'externref' | 'anyfunc';
  type ExternKind = 'function' | 'global' | 'memory' | 'table' | 'tag';
  type ImportValue = Memory | Table | Global | number | bigint | ((...args: never[]) => unknown);
  type Imports = Record<string, Record<string, ImportValue>>;
  // biome-ignore lint/suspicious/noExplicitAny: an export's type is known only to who made the module
  type Exports = Record<string, any>;

  interface MemoryDescriptor {
    /** In pages of 64 KiB. */
    initial: number;
    maximum?: number;
    shared?: boolean;
  }
  class Memory {
    constructor(descriptor: MemoryDescriptor);
    readonly buffer: ArrayBuffer | SharedArrayBuffer;
    /** Grows by `delta` pages; returns the size before, in pages. */
    grow(delta: number): number;
  }

  interface TableDescriptor {
    element: 'anyfunc' | 'externref';
    initial: number;
    maximum?: number;
  }
  class Table {
    constructor(descriptor: TableDescriptor, value?: unknown);
    readonly length: number;
    // biome-ignore lint/suspicious/noExplicitAny: a table's element is a function of any signature
    get(index: number): any;
    set(index: number, value?: unknown): void;
    grow(delta: number, value?: unknown): number;
  }

  class Global {
    constructor(descriptor: { value: ValueType; mutable?: boolean }, value?: number | bigint);
    value: number | bigint;
    valueOf(): number | bigint;
  }

  class Module {
    constructor(bytes: Uint8Array | ArrayBuffer);
    static exports(module: Module): { name: string; kind: ExternKind }[];
    static imports(module: Module): { module: string; name: string; kind: ExternKind }[];
    static customSections(module: Module, name: string): ArrayBuffer[];
  }
  class Instance {
    constructor(module: Module, imports?: Imports);
    readonly exports: Exports;
  }

  class CompileError extends Error {}
  class LinkError extends Error {}
  class RuntimeError extends Error {}

  function validate(bytes: Uint8Array | ArrayBuffer): boolean;
  function compile(bytes: Uint8Array | ArrayBuffer): Promise<Module>;
  function instantiate(module: Module, imports?: Imports): Promise<Instance>;
}

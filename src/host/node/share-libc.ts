/** The file calls of the C library that take descriptors, which Node does not offer. Linux only. */
import { FileError } from '../../base/index.ts';
import { loadFfi } from './ffi.ts';

type Parameter = 'int32' | 'uint32' | 'int64' | 'uint64' | 'buffer';

const CALLS = {
  // Descriptors that Node did not open are not Node's to close: it would complain.
  close: ['int32'],
  openat: ['int32', 'buffer', 'int32', 'uint32'],
  statx: ['int32', 'buffer', 'int32', 'uint32', 'buffer'],
  fstatfs: ['int32', 'buffer'],
  getdents64: ['int32', 'buffer', 'uint64'],
  lseek: ['int32', 'int64', 'int32'],
  readlinkat: ['int32', 'buffer', 'buffer', 'uint64'],
  mkdirat: ['int32', 'buffer', 'uint32'],
  mknodat: ['int32', 'buffer', 'uint32', 'uint64'],
  symlinkat: ['buffer', 'int32', 'buffer'],
  linkat: ['int32', 'buffer', 'int32', 'buffer', 'int32'],
  renameat: ['int32', 'buffer', 'int32', 'buffer'],
  unlinkat: ['int32', 'buffer', 'int32'],
  chmod: ['buffer', 'uint32'],
  fchownat: ['int32', 'buffer', 'uint32', 'uint32', 'int32'],
  truncate: ['buffer', 'int64'],
  ftruncate: ['int32', 'int64'],
  utimensat: ['int32', 'buffer', 'buffer', 'int32'],
  getxattr: ['buffer', 'buffer', 'buffer', 'uint64'],
  listxattr: ['buffer', 'buffer', 'uint64'],
  setxattr: ['buffer', 'buffer', 'buffer', 'uint64', 'int32'],
  removexattr: ['buffer', 'buffer'],
} as const satisfies Record<string, readonly Parameter[]>;
type CallName = keyof typeof CALLS;

/** Calls that return a number of 64 bits. */
const WIDE: readonly CallName[] = ['getdents64', 'lseek', 'readlinkat', 'getxattr', 'listxattr'];

type ArgumentsOf<Types extends readonly Parameter[]> = {
  [Index in keyof Types]: Types[Index] extends 'buffer'
    ? Uint8Array
    : Types[Index] extends 'int64' | 'uint64'
      ? bigint
      : number;
};

/** Each throws `FileError` when the call fails, and returns its result otherwise. */
export type FileCalls = { readonly [Name in CallName]: (...values: ArgumentsOf<(typeof CALLS)[Name]>) => number };

/** Undefined where the C library cannot be called. */
export function fileCalls(): FileCalls | undefined {
  const ffi = process.platform === 'linux' ? loadFfi() : undefined;
  if (ffi === undefined) return undefined;
  const { functions } = ffi.dlopen(null, {
    ...Object.fromEntries(
      Object.entries(CALLS).map(([name, parameters]) => [
        name,
        { arguments: [...parameters], return: WIDE.includes(name as CallName) ? 'int64' : 'int32' },
      ]),
    ),
    __errno_location: { arguments: [], return: 'pointer' },
  });
  const errnoPlace = () => functions.__errno_location() as bigint;
  const checked = (name: string) => {
    const call = functions[name];
    return (...values: unknown[]) => {
      const result = Number(call(...values));
      if (result < 0) throw new FileError(ffi.getInt32(errnoPlace()));
      return result;
    };
  };
  return Object.fromEntries(Object.keys(CALLS).map((name) => [name, checked(name)])) as unknown as FileCalls;
}

/** Calls of C functions: Node's own `node:ffi`, as far as Vireo uses it. */
export interface Ffi {
  dlopen(
    path: string | null,
    definitions: Record<string, { arguments: string[]; return: string }>,
  ): { functions: Record<string, (...args: unknown[]) => bigint | number> };
  getInt32(pointer: bigint, offset?: number): number;
  /** Where the bytes lie; they stay there. */
  getRawPointer(bytes: Uint8Array): bigint;
}

/** Undefined where this Node has none. */
export function loadFfi(): Ffi | undefined {
  return withoutWarning(() => process.getBuiltinModule('node:ffi') as unknown as Ffi | undefined);
}

/** node:ffi says on standard error that it is experimental; programs' output must stay clean. */
function withoutWarning<T>(action: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return action();
  } catch {
    return undefined as T;
  } finally {
    process.emitWarning = emitWarning;
  }
}

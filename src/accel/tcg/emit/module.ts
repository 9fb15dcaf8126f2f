/** Modules of one generated function, a handler or a region, which imports what it needs of the engine. */
import type { LibraryFunction } from '../../../target/index.ts';
import { type FunctionBody, ModuleBuilder } from '../wasm/writer.ts';
import type { Links } from './builder.ts';
import { handlerType, type RuntimeFunction, runtimeFunctions } from './core-types.ts';

export interface ModuleShape {
  /** Limits of the engine's memory. */
  readonly pages: { readonly initial: number; readonly maximum: number };
  readonly libraries: ReadonlyMap<string, LibraryFunction>;
}

/** The module of a function (record) → status, exported as `handler`; `emit` may be called more than once. */
export function buildFunctionModule(shape: ModuleShape, emit: (links: Links) => FunctionBody): Uint8Array<ArrayBuffer> {
  const names = new Set<string>();
  const first = build(shape, emit, names);
  // Library functions that turned out to be called are imported the second time.
  return names.size === 0 ? first : build(shape, emit, names);
}

function build(
  { pages, libraries }: ModuleShape,
  emit: (links: Links) => FunctionBody,
  names: Set<string>,
): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(pages);
  const runtime = importRuntime(module);
  const indices = new Map(
    [...names].map((name) => [name, module.importFunction('library', name, libraryType(findLibrary(libraries, name)))]),
  );
  const handler = module.declareFunction(handlerType);
  const links: Links = {
    runtime,
    handlerType: module.type(handlerType),
    library: (name) => {
      names.add(name);
      return { index: indices.get(name) ?? 0, function: findLibrary(libraries, name) };
    },
  };
  module.defineFunction(handler, emit(links));
  module.exportFunction('handler', handler);
  return module.finish();
}

/** Links for code that is emitted only to see whether it can be. */
export function trialLinks({ libraries }: ModuleShape): Links {
  const runtime = Object.fromEntries(Object.keys(runtimeFunctions).map((name) => [name, 0]));
  return {
    runtime: runtime as Record<RuntimeFunction, number>,
    handlerType: 0,
    library: (name) => ({ index: 0, function: findLibrary(libraries, name) }),
  };
}

export function findLibrary(libraries: ModuleShape['libraries'], name: string): LibraryFunction {
  const found = libraries.get(name);
  if (!found) throw new Error(`no library function ${name}`);
  return found;
}

export const libraryType = ({ params, result }: LibraryFunction) => ({ params, results: result ? [result] : [] });

function importRuntime(module: ModuleBuilder): Record<RuntimeFunction, number> {
  const entries = Object.entries(runtimeFunctions).map(([name, type]) => [
    name,
    module.importFunction('runtime', name, type),
  ]);
  return Object.fromEntries(entries) as Record<RuntimeFunction, number>;
}

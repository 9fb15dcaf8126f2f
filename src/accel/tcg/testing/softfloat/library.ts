/** Library functions of the IR as callable WebAssembly, without an engine around them. */
import type { Field, LibraryFunction, ValueType } from '../../../../target/index.ts';
import { type Links, WasmBuilder } from '../../emit/builder.ts';
import { handlerType } from '../../emit/core-types.ts';
import { stateBase } from '../../layout.ts';
import { FunctionEmitter } from '../../wasm/function.ts';
import { ModuleBuilder } from '../../wasm/writer.ts';

export interface Library {
  readonly functions: Readonly<Record<string, (...args: (number | bigint)[]) => number | bigint>>;
  /** An i32 field of the CPU state. */
  get(field: Field): number;
  put(field: Field, value: number): void;
}

/** Compiles `libraries` into one instance with a CPU state of its own. */
export function instantiateLibrary(libraries: readonly LibraryFunction[]): Library {
  const pages = { initial: 1, maximum: 1 };
  const module = new ModuleBuilder(pages);
  const type = (l: LibraryFunction) => ({ params: l.params, results: l.result ? [l.result] : ([] as ValueType[]) });
  const index = new Map(libraries.map((l) => [l.name, module.declareFunction(type(l))]));
  const byName = new Map(libraries.map((l) => [l.name, l]));
  const links: Links = {
    runtime: {} as Links['runtime'],
    handlerType: module.type(handlerType),
    library: (name) => ({ index: index.get(name)!, function: byName.get(name)! }),
  };
  for (const l of libraries) {
    const f = new FunctionEmitter(l.params);
    const result = l.body(new WasmBuilder(f, links), ...l.params.map((_, i) => f.param(i)));
    if (result) f.expr(result);
    module.defineFunction(index.get(l.name)!, f.finish());
    module.exportFunction(l.name, index.get(l.name)!);
  }
  const memory = new WebAssembly.Memory({ ...pages, shared: true });
  const table = new WebAssembly.Table({ element: 'anyfunc', initial: 0 });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory, table } });
  const view = new DataView(memory.buffer);
  return {
    functions: instance.exports as Library['functions'],
    get: (field) => view.getInt32(stateBase + field.offset, true),
    put: (field, value) => view.setInt32(stateBase + field.offset, value, true),
  };
}

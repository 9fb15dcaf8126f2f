/** WebAssembly modules compiled before they are run, not when. */
import { setFlagsFromString } from 'node:v8';

/**
 * To be called before the first module of a process that `compileModule` works in. V8's guesses about indirect calls
 * are undone from what its baseline compiler recorded, which a module that never was baseline code does not have.
 * Programs of ours have set them before (bin/node.mjs), because modules of Node's own may be compiled at this very moment.
 */
export function prepareToCompile(): void {
  setFlagsFromString('--no-wasm-deopt');
  setFlagsFromString('--no-wasm-inlining-call-indirect');
}

/**
 * Compiles all functions of a module now: by V8's baseline compiler (`quick`), or by its optimizing one (`best`), which
 * would otherwise come only after the code has run for a while. The flags are the whole process's: for so long other
 * threads compile likewise, which is slower for them and does no harm.
 */
export function compileModule(bytes: Uint8Array<ArrayBuffer>, effort: 'quick' | 'best'): WebAssembly.Module {
  setFlagsFromString('--no-wasm-lazy-compilation');
  if (effort === 'best') setFlagsFromString('--no-liftoff');
  try {
    return new WebAssembly.Module(bytes);
  } finally {
    setFlagsFromString('--wasm-lazy-compilation');
    setFlagsFromString('--liftoff');
  }
}

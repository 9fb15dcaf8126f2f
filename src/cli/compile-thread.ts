/** What the thread runs that translates guest code for a machine with the software CPU. */
import { serveRegionCompiler } from '../accel/tcg/index.ts';
import type { ThreadContext } from '../contract/index.ts';
import { compileModule } from './compile-module.ts';

export function serve(context: ThreadContext): void {
  serveRegionCompiler(context, compileModule);
}

/** The functions that generated code shares. */
import { flagsLibrary, type LibraryFunction, softfloatLibrary, vectorLibrary, x87Library } from '../../target/index.ts';

export const engineLibraries = (): ReadonlyMap<string, LibraryFunction> =>
  new Map(
    [...flagsLibrary, ...softfloatLibrary, ...x87Library, ...vectorLibrary].map((library) => [library.name, library]),
  );

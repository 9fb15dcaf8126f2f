/** All rows, in the order of the manual's chapters; the decoder sorts out which is more specific. */
import { arithmeticRows } from './arithmetic.ts';
import { controlRows } from './control.ts';
import { moveRows } from './move.ts';
import type { Row } from './row.ts';
import { shiftRows } from './shift.ts';
import { stringRows } from './string.ts';
import { systemRows } from './system.ts';
import { vectorRows } from './vector.ts';
import { x87Rows } from './x87.ts';

export { tooLongInstruction, undefinedOpcode } from './control.ts';
export { deliverPageFault } from './page-fault.ts';
export { emitUnitCheck } from './units.ts';
export { vectorLibrary } from './vector.ts';
export { x87Library } from './x87.ts';

export const x86Rows: readonly Row[] = [
  ...arithmeticRows,
  ...shiftRows,
  ...moveRows,
  ...controlRows,
  ...stringRows,
  ...systemRows,
  ...x87Rows,
  ...vectorRows,
];

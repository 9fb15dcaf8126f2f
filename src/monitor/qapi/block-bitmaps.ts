/** Dirty bitmaps: what changed since they began. */
import { alternate, arrayOf, bool, command, field, optional, str, struct, uint32 } from '../schema/types.ts';

const place = { node: field(str, 'a node, or the id of a -drive'), name: field(str) };
const source = alternate('BlockDirtyBitmapOrStr', 'A bitmap of the node, or of another one.', [
  str,
  struct('BlockDirtyBitmap', 'A bitmap.', place),
]);

export const blockBitmapCommands = {
  'block-dirty-bitmap-add': command({
    doc: 'Begins a bitmap of what is written.',
    args: {
      ...place,
      granularity: optional(uint32, 'bytes that a bit stands for; a power of two'),
      persistent: optional(bool, 'the image keeps it'),
      disabled: optional(bool, 'notes nothing yet'),
    },
    since: '2.4',
    examples: [{ arguments: { node: 'd0', name: 'b0' }, returns: {} }],
  }),
  'block-dirty-bitmap-remove': command({
    doc: 'Removes a bitmap.',
    args: place,
    since: '2.4',
    examples: [{ arguments: { node: 'spare', name: 'kept' }, returns: {} }],
  }),
  'block-dirty-bitmap-clear': command({
    doc: 'Begins a bitmap anew.',
    args: place,
    since: '2.4',
    examples: [{ arguments: { node: 'spare', name: 'kept' }, returns: {} }],
  }),
  'block-dirty-bitmap-enable': command({
    doc: 'Lets a bitmap note changes.',
    args: place,
    since: '4.0',
    examples: [{ arguments: { node: 'spare', name: 'kept' }, returns: {} }],
  }),
  'block-dirty-bitmap-disable': command({
    doc: 'Lets a bitmap note nothing more.',
    args: place,
    since: '4.0',
    examples: [{ arguments: { node: 'spare', name: 'kept' }, returns: {} }],
  }),
  'block-dirty-bitmap-merge': command({
    doc: 'Adds what other bitmaps have noted to one.',
    args: { node: field(str), target: field(str), bitmaps: field(arrayOf(source)) },
    since: '4.0',
    examples: [{ arguments: { node: 'spare', target: 'kept', bitmaps: ['kept'] }, returns: {} }],
  }),
} as const;

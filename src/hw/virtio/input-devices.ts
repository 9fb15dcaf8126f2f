/** Which events a keyboard, a mouse and a tablet send: codes of Linux's input-event-codes.h, which are virtio's (5.8). */
import type { InputKind } from '../names.ts';
import { INPUT_EVENT, type InputOptions, type VirtioInput, virtioInput } from './input.ts';

/** Of the tablet, in both directions. */
export const TABLET_MAX = 32_767;

/** All keys that keyboards have had, and those for sound and power: 1 to 248. */
const KEYS = Array.from({ length: 248 }, (_, index) => index + 1);
const REPEATS = [0, 1];
const LEDS = { numLock: 0, capsLock: 1, scrollLock: 2 };
const BUTTONS = { left: 0x110, right: 0x111, middle: 0x112, side: 0x113, extra: 0x114 };
const RELATIVE = { x: 0, y: 1, horizontalWheel: 6, wheel: 8 };
const ABSOLUTE = { x: 0, y: 1 };
const SIDE = { min: 0, max: TABLET_MAX };

const KINDS: Readonly<Record<InputKind, Pick<InputOptions, 'title' | 'product' | 'codes' | 'axes'>>> = {
  keyboard: {
    title: 'Vireo virtio keyboard',
    product: 1,
    codes: {
      [INPUT_EVENT.key]: KEYS,
      [INPUT_EVENT.led]: Object.values(LEDS),
      [INPUT_EVENT.repeat]: REPEATS,
    },
  },
  mouse: {
    title: 'Vireo virtio mouse',
    product: 2,
    codes: { [INPUT_EVENT.key]: Object.values(BUTTONS), [INPUT_EVENT.relative]: Object.values(RELATIVE) },
  },
  tablet: {
    title: 'Vireo virtio tablet',
    product: 3,
    codes: {
      [INPUT_EVENT.key]: Object.values(BUTTONS),
      [INPUT_EVENT.relative]: [RELATIVE.wheel],
      [INPUT_EVENT.absolute]: Object.values(ABSOLUTE),
    },
    axes: { [ABSOLUTE.x]: SIDE, [ABSOLUTE.y]: SIDE },
  },
};

export function inputDevice(kind: InputKind, options: Pick<InputOptions, 'name' | 'serial' | 'onStatus'>): VirtioInput {
  return virtioInput({ ...KINDS[kind], ...options });
}

/** Keys by QEMU's names, as Linux numbers them (input-event-codes.h). */
const ROWS = [
  [1, 'esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p bracket_left bracket_right ret ctrl'],
  [30, 'a s d f g h j k l semicolon apostrophe grave_accent shift backslash z x c v b n m comma dot slash shift_r'],
  [55, 'kp_multiply alt spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock kp_7 kp_8 kp_9 kp_subtract'],
  [75, 'kp_4 kp_5 kp_6 kp_add kp_1 kp_2 kp_3 kp_0 kp_decimal'],
  [86, 'less f11 f12'],
  [96, 'kp_enter ctrl_r kp_divide sysrq alt_r'],
  [102, 'home up pgup left right end down pgdn insert delete'],
  [113, 'audiomute volumedown volumeup power kp_equals'],
  [119, 'pause'],
  [125, 'meta_l meta_r menu stop'],
] as const;

export const KEY_CODES: Readonly<Record<string, number>> = {
  ...Object.fromEntries(ROWS.flatMap(([first, names]) => names.split(' ').map((name, index) => [name, first + index]))),
  print: 99,
};

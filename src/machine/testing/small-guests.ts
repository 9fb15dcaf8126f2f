/** Guests of a few instructions for whole machines, the same on every accelerator. */

export const PRINT_K = [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x6b, 0xee]; // mov dx, 3f8h; mov al, 'k'; out dx, al
export const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef]; // mov dx, 604h; mov ax, 2000h; out dx, ax
export const RESET = [0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee]; // mov dx, cf9h; mov al, 6; out dx, al
export const HLT = 0xf4;
export const LOOP = [0xeb, 0xfe]; // jmp to itself

/** Sets up the IDT at 300000h, the 8259s and 100 interrupts a second; each prints, the third ends. */
export const TIMER_GUEST = (() => {
  const ENTRY = 0x20_0200;
  const out = (port: number, value: number) => [0xb0, value, 0xe6, port]; // mov al, value; out port, al
  const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
  const store = (address: number, value: number) => [0xc7, 0x04, 0x25, ...dword(address), ...dword(value)];
  const sleep = [0xfb, HLT, 0xeb, 0xfd]; // sti; l: hlt; jmp l
  const set = (handler: number, table: number) => [
    ...store(0x30_0200, 0x10_0000 | (handler & 0xffff)),
    ...store(0x30_0204, (handler & 0xffff_0000) | 0x8e00),
    ...[0x0f, 0x01, 0x1c, 0x25, ...dword(table)], // lidt
    ...[...out(0x20, 0x11), ...out(0x21, 0x20), ...out(0x21, 0x04), ...out(0x21, 0x01), ...out(0x21, 0xfe)],
    ...[...out(0x43, 0x34), ...out(0x40, 0x9b), ...out(0x40, 0x2e)],
    ...sleep,
  ];
  // It does not return from its interrupts: the stack is long enough.
  const handler = [
    ...PRINT_K,
    ...out(0x20, 0x20),
    ...[0xff, 0x04, 0x25, ...dword(0x30_8000)], // inc dword [308000h]
    ...[0x83, 0x3c, 0x25, ...dword(0x30_8000), 3, 0x74, sleep.length], // cmp dword [308000h], 3; je past the sleep
    ...sleep,
    ...POWER_OFF,
    HLT,
  ];
  const begin = [0xbc, ...dword(0x31_0000)]; // mov esp, 310000h
  const length = begin.length + set(0, 0).length;
  const table = ENTRY + length + handler.length;
  return [...begin, ...set(ENTRY + length, table), ...handler, 0xff, 0x0f, ...dword(0x30_0000), 0, 0, 0, 0];
})();

/** Answers each byte of COM1 with the byte plus how many came before it, which it counts in memory. */
export const COUNTING = [
  ...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7], // wait until there is a byte
  ...[0x66, 0xba, 0xf8, 0x03, 0xec], // in al, dx
  ...[0x02, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00], // add al, [300000h]
  ...[0xfe, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00], // inc byte [300000h]
  ...[0xee, 0xeb, 0xe1], // out dx, al; again
];

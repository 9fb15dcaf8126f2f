/**
 * v86, the other PC in JavaScript, as a program: `v86-run.ts BIOS-FOLDER KERNEL INITRD COMMAND-LINE MEBIBYTES`.
 * Standard output is the guest's first serial port; the process ends when a line there says `bench done`.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';

const VGA_MEMORY_BYTES = 8 << 20;

async function contents(path: string): Promise<{ buffer: ArrayBuffer }> {
  return { buffer: new Uint8Array(await readFile(path)).buffer };
}

const [firmware, kernel, initrd, cmdline, mebibytes] = process.argv.slice(2);
// Its types know neither a path for Node nor the ports beside the first.
const options: object = {
  wasm_path: fileURLToPath(import.meta.resolve('v86').replace('libv86.mjs', 'v86.wasm')),
  bios: await contents(`${firmware}/bios.bin`),
  vga_bios: await contents(`${firmware}/vgabios-stdvga.bin`),
  bzimage: await contents(kernel),
  initrd: await contents(initrd),
  cmdline,
  memory_size: Number(mebibytes) * 1024 ** 2,
  vga_memory_size: VGA_MEMORY_BYTES,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  uart1: true,
  uart2: true,
  uart3: true,
};
const emulator = new V86(options);
let line = '';
emulator.add_listener('serial0-output-byte', (byte: number) => {
  line += String.fromCharCode(byte);
  if (byte !== 10) return;
  const isLast = line.startsWith('bench done');
  process.stdout.write(line, () => {
    if (isLast) process.exit(0);
  });
  line = '';
});

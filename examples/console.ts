/**
 * A machine from its parts: start it, read and type at its serial console, wait
 * for its power-off. Run it with `npm run build && node_modules/.bin/node examples/console.ts`.
 */
import { createMachine, defaultGuest } from 'vireo';

const { kernel, initramfs, commandLine } = await defaultGuest({ onProgress: console.error });

// `await using` stops the machine when this module ends, whichever way.
await using machine = await createMachine({
  memoryBytes: 256 * 1024 ** 2,
  boot: { kernel, initrd: initramfs, commandLine },
});

const [serial] = machine.serial;
const keyboard = serial.writable.getWriter();
await machine.start();

const decoder = new TextDecoder();
let text = '';
let typed = false;
for await (const bytes of serial.readable) {
  text += decoder.decode(bytes, { stream: true });
  if (!typed && text.includes('~ # ')) {
    typed = true;
    await keyboard.write(new TextEncoder().encode('free -m | head -2\nexit\n'));
  }
}
console.log(text.replaceAll('\r', ''));

const { reason } = await machine.exited;
console.log(`the machine ended: ${reason}`);

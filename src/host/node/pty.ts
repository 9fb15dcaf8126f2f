/** Pseudo-terminals, which Node does not offer: openpty(3) and raw mode by the C library. Linux only. */
import { readlinkSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import { loadFfi } from './ffi.ts';

export interface Pty {
  readonly master: number;
  /** Held open, so that the master stays usable while nobody else has it open. */
  readonly slave: number;
  /** What others open, e.g. /dev/pts/3. */
  readonly path: string;
}

/** Room for struct termios (bits/termios.h has 60 bytes). */
const TERMIOS_BYTES = 256;
const TCSANOW = 0;

/** @throws UserError where there are none */
export function openPty(): Pty {
  const ffi = process.platform === 'linux' ? loadFfi() : undefined;
  if (ffi === undefined) throw new UserError('pseudo-terminals need Linux and a Node with node:ffi');
  const { functions } = ffi.dlopen(null, {
    openpty: { arguments: ['buffer', 'buffer', 'pointer', 'pointer', 'pointer'], return: 'int32' },
    tcgetattr: { arguments: ['int32', 'buffer'], return: 'int32' },
    tcsetattr: { arguments: ['int32', 'int32', 'buffer'], return: 'int32' },
    cfmakeraw: { arguments: ['buffer'], return: 'void' },
  });
  const [master, slave] = [new Int32Array(1), new Int32Array(1)].map((fd) => new Uint8Array(fd.buffer));
  if (functions.openpty(master, slave, 0n, 0n, 0n) !== 0) throw new UserError('no pseudo-terminal could be opened');
  const [masterFd, slaveFd] = [master, slave].map((fd) => new Int32Array(fd.buffer)[0]);
  const termios = new Uint8Array(TERMIOS_BYTES);
  functions.tcgetattr(slaveFd, termios);
  functions.cfmakeraw(termios);
  functions.tcsetattr(slaveFd, TCSANOW, termios);
  return { master: masterFd, slave: slaveFd, path: readlinkSync(`/proc/self/fd/${slaveFd}`) };
}

/** The tools of Debian for tests of devices and networks, or why they are not there. */
import { debianTools } from './debian.ts';
import { tryDefaultGuest } from './guest.ts';

const guest = await tryDefaultGuest('generic');
const folder = typeof guest === 'string' ? '' : await debianTools().catch((error: Error) => error);

/** A reason to skip. */
export const skip = typeof guest === 'string' ? guest : folder instanceof Error && folder.message;

/** To share with a guest that runs `ENTER_TOOLS`. */
export const toolsShare = { folder: String(folder), tag: 'tools', readOnly: true } as const;

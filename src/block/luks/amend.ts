/** Adding and erasing key slots of a LUKS header in place; the master key and the data stay as they are. */
import { UserError } from '../../base/index.ts';
import type { BlockCrypto, BlockNode } from '../../contract/index.ts';
import { SECTOR_BYTES } from '../crypto/sectors.ts';
import type { KeySlotChange } from '../format.ts';
import { alignUp } from '../request.ts';
import { iterationsFor } from './create.ts';
import {
  encodeLuksHeader,
  type KeySlot,
  type LuksHeader,
  readLuksHeader,
  SALT_BYTES,
  SLOTS,
  STRIPES,
} from './header.ts';
import { openSlot, sealSlot, unlock } from './keys.ts';

export interface LuksPlace {
  readonly file: BlockNode;
  /** Where the header lies in the file. */
  readonly offset: number;
  readonly name: string;
  readonly crypto: BlockCrypto;
}

const ITERATION_MILLIS = 2000;

/** @param secret A passphrase of the volume, which a new key slot is made with. @throws UserError that says why not */
export async function amendKeySlots(
  place: LuksPlace,
  secret: Uint8Array | undefined,
  change: KeySlotChange,
  force: boolean,
): Promise<void> {
  const header = await readLuksHeader(place.file, place.name, place.offset);
  const { keySlot } = change;
  if (keySlot !== undefined && !(Number.isInteger(keySlot) && keySlot >= 0 && keySlot < SLOTS)) {
    throw new UserError(`Invalid keyslot ${keySlot}: it is between 0 and ${SLOTS - 1}`);
  }
  if (change.state === 'active') await addKey(place, header, secret, change, force);
  else await eraseKeys(place, header, change, force);
}

async function addKey(
  place: LuksPlace,
  header: LuksHeader,
  secret: Uint8Array | undefined,
  { newSecret, oldSecret, keySlot, iterationMillis = ITERATION_MILLIS }: KeySlotChange,
  force: boolean,
): Promise<void> {
  const { file, offset, name, crypto } = place;
  if (newSecret === undefined) throw new UserError("'new-secret' is required to activate a keyslot");
  if (newSecret.length === 0) throw new UserError("'new-secret' may not be empty");
  if (oldSecret !== undefined) throw new UserError("'old-secret' must not be given when activating keyslots");
  const index = keySlot ?? header.slots.findIndex(({ isActive }) => !isActive);
  if (index < 0) throw new UserError("Can't add a keyslot - all keyslots are in use");
  if (header.slots[index].isActive && !force) {
    throw new UserError(`Refusing to overwrite active keyslot ${index} - please erase it first`);
  }
  if (secret === undefined)
    throw new UserError(`${name}: adding a keyslot needs key-secret=ID, a passphrase that opens it`);
  const masterKey = await unlock(crypto, file, offset, header, secret, name);
  const slot: KeySlot = {
    ...header.slots[index],
    isActive: true,
    iterations: await iterationsFor(crypto, header.hash, header.keyBytes, iterationMillis),
    salt: crypto.random(SALT_BYTES),
    stripes: STRIPES,
  };
  // The material first: a slot that is not active yet may hold anything.
  await file.write(offset + slot.sector * SECTOR_BYTES, await sealSlot(crypto, header, slot, newSecret, masterKey));
  await file.flush();
  await writeSlots(place, header, [[index, slot]]);
}

async function eraseKeys(
  place: LuksPlace,
  header: LuksHeader,
  { newSecret, oldSecret, keySlot, iterationMillis }: KeySlotChange,
  force: boolean,
): Promise<void> {
  const { file, offset, crypto } = place;
  if (newSecret !== undefined) throw new UserError("'new-secret' must not be given when erasing keyslots");
  if (iterationMillis !== undefined) throw new UserError("'iter-time' must not be given when erasing keyslots");
  const active = header.slots.flatMap(({ isActive }, index) => (isActive ? [index] : []));
  const opens = async (index: number) =>
    header.slots[index].isActive &&
    (await openSlot(crypto, file, offset, header, header.slots[index], oldSecret!)) !== undefined;
  let erased: number[] = [];
  if (keySlot !== undefined) {
    if (oldSecret !== undefined && !(await opens(keySlot))) {
      throw new UserError(`This keyslot ${keySlot} does not contain the 'old-secret' password`);
    }
    if (!active.includes(keySlot) && !force) {
      throw new UserError(`Given keyslot ${keySlot} is already erased (inactive)`);
    }
    erased = [keySlot];
  } else if (oldSecret !== undefined) {
    for (const index of active) if (await opens(index)) erased.push(index);
    if (erased.length === 0) throw new UserError('No keyslots match given (old) password for erase operation');
  } else {
    throw new UserError(
      'To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given',
    );
  }
  if (!force && active.every((index) => erased.includes(index))) {
    throw new UserError(
      `Erasing keyslot ${erased.join(', ')} would leave no active one, and all data would be lost irreversibly - refusing operation`,
    );
  }
  const blank = { isActive: false, iterations: 0, salt: new Uint8Array(SALT_BYTES) };
  const slots = erased.map((index) => [index, { ...header.slots[index], ...blank }] as const);
  await writeSlots(place, header, slots);
  for (const [, slot] of slots) {
    const bytes = alignUp(STRIPES * header.keyBytes, SECTOR_BYTES);
    await file.write(offset + slot.sector * SECTOR_BYTES, crypto.random(bytes));
  }
  await file.flush();
}

async function writeSlots(
  { file, offset }: LuksPlace,
  header: LuksHeader,
  changed: readonly (readonly [number, KeySlot])[],
) {
  const slots = [...header.slots];
  for (const [index, slot] of changed) slots[index] = slot;
  await file.write(offset, encodeLuksHeader({ ...header, slots }));
  await file.flush();
}

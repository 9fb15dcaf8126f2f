/** Which frames the driver wants: VIRTIO 1.2, 5.1.6.5.1 to 5.1.6.5.3. */

import type { StateOf } from '../../../base/index.ts';
import { bool, bytes, list, stateTable } from '../../../base/index.ts';

/** Addresses of each kind that the driver may list; with more, all of that kind are let in. */
export const TABLE_MAX = 64;
const VLANS = 4096;
const MAC_BYTES = 6;
const TAG_AT = 12;
const TAG_TYPE = 0x8100;

export const FILTER_STATE = stateTable({
  /** Before the driver says otherwise, everything is let in. */
  promiscuous: bool(true),
  allMulticast: bool(),
  allUnicast: bool(),
  noMulticast: bool(),
  noUnicast: bool(),
  noBroadcast: bool(),
  unicast: list(TABLE_MAX, bytes(MAC_BYTES)),
  multicast: list(TABLE_MAX, bytes(MAC_BYTES)),
  /** A bit for each VLAN that is let in. */
  vlans: bytes(VLANS / 8),
});
export type FilterState = StateOf<typeof FILTER_STATE>;

/** @param filtersVlans the driver lists its VLANs; without that, all are let in */
export function isWanted(filter: FilterState, mac: Uint8Array, frame: Uint8Array, filtersVlans: boolean): boolean {
  if (filter.promiscuous) return true;
  if (filtersVlans && frame[TAG_AT] === TAG_TYPE >> 8 && frame[TAG_AT + 1] === (TAG_TYPE & 0xff)) {
    const vlan = ((frame[TAG_AT + 2] & 0x0f) << 8) | frame[TAG_AT + 3];
    if (!(filter.vlans[vlan >> 3] & (1 << (vlan & 7)))) return false;
  }
  if (frame[0] & 1) {
    if (isBroadcast(frame)) return !filter.noBroadcast;
    if (filter.noMulticast) return false;
    return filter.allMulticast || filter.multicast.some((address) => startsWith(frame, address));
  }
  if (filter.noUnicast) return false;
  return filter.allUnicast || startsWith(frame, mac) || filter.unicast.some((address) => startsWith(frame, address));
}

function isBroadcast(frame: Uint8Array): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (frame[i] !== 0xff) return false;
  return true;
}

function startsWith(frame: Uint8Array, address: Uint8Array): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (frame[i] !== address[i]) return false;
  return true;
}

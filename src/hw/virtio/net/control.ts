/** The commands of the control queue: VIRTIO 1.2, 5.1.6.5. */

import type { StateOf } from '../../../base/index.ts';
import { bool, bytes, stateTable, u16 } from '../../../base/index.ts';
import type { Negotiated } from '../device.ts';
import { NET_FEATURE } from './features.ts';
import { FILTER_STATE, TABLE_MAX } from './filter.ts';

export const NET_STATE = stateTable({
  mac: bytes(6),
  isUp: bool(true),
  /** The driver was asked to make itself known and has not yet said that it did. */
  announces: bool(),
  activePairs: u16(1),
  /** Offloads towards the guest that are switched on, by their feature bits 0 to 15. */
  guestOffloads: u16(),
  filter: FILTER_STATE,
  /** The queue pair in which a flow was last seen, by its hash (5.1.6.5.6). */
  flows: bytes(256),
});
export type NetState = StateOf<typeof NET_STATE>;

const CLASS = { receive: 0, mac: 1, vlan: 2, announce: 3, multiQueue: 4, guestOffloads: 5 } as const;
const RECEIVE_MODES = ['promiscuous', 'allMulticast', 'allUnicast', 'noMulticast', 'noUnicast', 'noBroadcast'] as const;
const MAC = { tableSet: 0, addressSet: 1 } as const;
const VLAN = { add: 0, remove: 1 } as const;
const MAC_BYTES = 6;
/** Bytes of a command that are looked at: two full tables. */
export const COMMAND_BYTES_MAX = 2 + 2 * (4 + TABLE_MAX * MAC_BYTES) + 4096;

export interface ControlRules {
  readonly pairsMax: number;
  readonly negotiated: Negotiated;
}

/**
 * Carries out one command on `state`; false when there is no such command, it
 * was not negotiated, or what comes with it does not fit.
 * @param command class, command and data, as the driver sent them
 */
export function control(state: NetState, command: Uint8Array, { pairsMax, negotiated }: ControlRules): boolean {
  if (command.length < 2) return false;
  const [commandClass, code] = command;
  const data = new DataView(command.buffer, command.byteOffset + 2, command.length - 2);
  switch (commandClass) {
    case CLASS.receive: {
      const mode = RECEIVE_MODES[code];
      const feature = code <= 1 ? NET_FEATURE.controlReceive : NET_FEATURE.controlReceiveExtra;
      if (mode === undefined || !negotiated(feature) || data.byteLength !== 1) return false;
      state.filter[mode] = data.getUint8(0) !== 0;
      return true;
    }
    case CLASS.mac:
      return setMac(state, code, data, negotiated);
    case CLASS.vlan:
      return negotiated(NET_FEATURE.controlVlan) && setVlan(state, code, data);
    case CLASS.announce:
      if (!negotiated(NET_FEATURE.announce) || code !== 0) return false;
      state.announces = false;
      return true;
    case CLASS.multiQueue: {
      if (!negotiated(NET_FEATURE.multiQueue) || code !== 0 || data.byteLength !== 2) return false;
      const pairs = data.getUint16(0, true);
      if (pairs < 1 || pairs > pairsMax) return false;
      state.activePairs = pairs;
      return true;
    }
    case CLASS.guestOffloads: {
      if (!negotiated(NET_FEATURE.controlGuestOffloads) || code !== 0 || data.byteLength !== 8) return false;
      const [low, high] = [data.getUint32(0, true), data.getUint32(4, true)];
      const possible = negotiatedGuestOffloads(negotiated);
      if (high !== 0 || (low & ~possible) !== 0) return false;
      state.guestOffloads = low;
      return true;
    }
    default:
      return false;
  }
}

/** The offloads towards the guest that were negotiated, by their feature bits. */
export function negotiatedGuestOffloads(negotiated: Negotiated): number {
  const { guestChecksum, guestTcp4, guestTcp6 } = NET_FEATURE;
  return [guestChecksum, guestTcp4, guestTcp6].reduce((sum, bit) => (negotiated(bit) ? sum | (1 << bit) : sum), 0);
}

function setMac(state: NetState, code: number, data: DataView, negotiated: Negotiated): boolean {
  if (code === MAC.addressSet) {
    if (!negotiated(NET_FEATURE.controlMac) || data.byteLength !== MAC_BYTES) return false;
    state.mac = copyOf(data, 0);
    return true;
  }
  if (code !== MAC.tableSet || !negotiated(NET_FEATURE.controlReceive)) return false;
  const unicast = readTable(data, 0);
  const multicast = unicast && readTable(data, unicast.end);
  if (!unicast || !multicast || multicast.end !== data.byteLength) return false;
  const { filter } = state;
  filter.unicast = unicast.addresses.slice(0, TABLE_MAX);
  filter.multicast = multicast.addresses.slice(0, TABLE_MAX);
  // What does not fit is let in whole (5.1.6.5.2.1 lets a device filter less than it was asked to).
  if (unicast.addresses.length > TABLE_MAX) filter.allUnicast = true;
  if (multicast.addresses.length > TABLE_MAX) filter.allMulticast = true;
  return true;
}

/** A count of 32 bits and as many addresses. */
function readTable(data: DataView, at: number): { addresses: Uint8Array[]; end: number } | undefined {
  if (at + 4 > data.byteLength) return undefined;
  const end = at + 4 + data.getUint32(at, true) * MAC_BYTES;
  if (end > data.byteLength) return undefined;
  const addresses: Uint8Array[] = [];
  for (let from = at + 4; from < end; from += MAC_BYTES) addresses.push(copyOf(data, from));
  return { addresses, end };
}

function copyOf(data: DataView, at: number): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset + at, MAC_BYTES).slice();
}

function setVlan(state: NetState, code: number, data: DataView): boolean {
  if (data.byteLength !== 2) return false;
  const vlan = data.getUint16(0, true);
  if (vlan > 4095 || (code !== VLAN.add && code !== VLAN.remove)) return false;
  const { vlans } = state.filter;
  if (code === VLAN.add) vlans[vlan >> 3] |= 1 << (vlan & 7);
  else vlans[vlan >> 3] &= ~(1 << (vlan & 7));
  return true;
}

/** A client that asks for its configuration and its boot file: messages by hand, and their options. */
import type { HostFolder } from '../../contract/index.ts';
import { parseEthernet, parseIp4Packet, parseUdp } from '../index.ts';
import { GUEST_MAC, type TestGuest } from './guest.ts';

/** RFC 2131, figure 1, with the message type of RFC 2132, 9.6. */
export function dhcpMessage(type: number, options: readonly number[] = [], mac: Uint8Array = GUEST_MAC): Uint8Array {
  const message = new Uint8Array(300);
  message.set([1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78]);
  message.set(mac, 28);
  message.set([0x63, 0x82, 0x53, 0x63, 53, 1, type, ...options, 255], 236);
  return message;
}

export function dhcpOption(reply: Uint8Array, wanted: number): number[] | undefined {
  for (let at = 240; at < reply.length && reply[at] !== 255; at += 2 + reply[at + 1]) {
    if (reply[at] === wanted) return [...reply.subarray(at + 2, at + 2 + reply[at + 1])];
  }
  return undefined;
}

/** Options of a DHCPv6 message, by code (RFC 8415, 21.1). */
export function dhcpv6Options(message: Uint8Array): Map<number, Buffer> {
  const bytes = Buffer.from(message);
  const options = new Map<number, Buffer>();
  for (let at = 4; at < bytes.length; at += 4 + bytes.readUInt16BE(at + 2)) {
    options.set(bytes.readUInt16BE(at), bytes.subarray(at + 4, at + 4 + bytes.readUInt16BE(at + 2)));
  }
  return options;
}

/** The payload of the next frame, an IPv4 datagram. */
export function nextDatagram(guest: TestGuest): Buffer | undefined {
  const frame = guest.next();
  if (frame === undefined) return undefined;
  const packet = parseIp4Packet(parseEthernet(frame)!.payload)!;
  return Buffer.from(parseUdp(packet.payload, packet)!.payload);
}

export interface MemoryFolder extends HostFolder {
  /** Files that were opened and not closed. */
  openCount: number;
}

export function memoryFolder(files: Readonly<Record<string, Uint8Array>>): MemoryFolder {
  const folder: MemoryFolder = {
    openCount: 0,
    async open(path) {
      const content = Object.hasOwn(files, path) ? files[path] : undefined;
      if (content === undefined) return undefined;
      folder.openCount++;
      return {
        sizeBytes: content.length,
        async read(offset, target) {
          const part = content.subarray(offset, offset + target.length);
          target.set(part);
          return part.length;
        },
        async close() {
          folder.openCount--;
        },
      };
    },
  };
  return folder;
}

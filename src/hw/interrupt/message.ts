/** Interrupt messages: what IOAPICs, MSI devices and local APICs send to local APICs. */

/** Delivery modes of MSI data, IOAPIC entries, LVT entries and the ICR alike (Intel SDM vol. 3, 11.5.1). */
export const DELIVERY = { fixed: 0, lowestPriority: 1, smi: 2, nmi: 4, init: 5, startup: 6, extInt: 7 } as const;

/** Every local APIC, as a physical destination. */
export const BROADCAST = 0xffff_ffff;

export interface InterruptMessage {
  /** Physical APIC id or `BROADCAST`; with `logical`, a set to match against each LDR. */
  readonly destination: number;
  readonly logical: boolean;
  readonly delivery: number;
  readonly vector: number;
  /** Level triggered: the EOI is broadcast to the IOAPICs. */
  readonly level: boolean;
}

const MSI_ADDRESS_BASE = 0xfee0_0000;

/** Takes a message-signalled interrupt apart (SDM vol. 3, 11.11). */
export function decodeMsi(address: number, data: number): InterruptMessage {
  const destination = (address >>> 12) & 0xff;
  const logical = (address & 0x4) !== 0;
  return {
    destination: !logical && destination === 0xff ? BROADCAST : destination,
    logical,
    delivery: (data >>> 8) & 7,
    vector: data & 0xff,
    level: (data & 0x8000) !== 0,
  };
}

/** The address and data of a message to 8-bit destinations. */
export function encodeMsi(message: InterruptMessage): { address: number; data: number } {
  const address = MSI_ADDRESS_BASE + (((message.destination & 0xff) << 12) | (message.logical ? 0x4 : 0));
  const data = message.vector | (message.delivery << 8) | (message.level ? 0xc000 : 0);
  return { address, data };
}

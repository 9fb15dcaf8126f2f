/** The interrupt joint: one level-triggered wire. */
export interface IrqLine {
  /** Drives the wire. Setting the level it already has does nothing. */
  set(level: boolean): void;
}

/** Where a message-signalled interrupt goes (MSI, IOAPIC, another local APIC). */
export interface MsiSink {
  /**
   * @param address 32-bit message address, 0xFEExxxxx (Intel SDM vol. 3, 11.11.1)
   * @param data message data: vector, delivery mode, trigger mode (11.11.2)
   */
  send(address: number, data: number): void;
}

/** The 8259 pair as the CPU sees it: the INTR pin and its acknowledge cycle. */
export interface ExternalInterrupts {
  /** True while the INTR pin is high. */
  pending(): boolean;
  /** Runs the acknowledge cycle; returns the vector, 0 to 255. */
  acknowledge(): number;
}

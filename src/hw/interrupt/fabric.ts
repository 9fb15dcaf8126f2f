/** What joins local APICs, IOAPICs and MSI devices: messages go to the APICs they name, EOIs to the IOAPICs. */
import type { MsiSink } from '../../contract/index.ts';
import type { InterruptMessage } from './message.ts';
import { DELIVERY, decodeMsi } from './message.ts';

/** A local APIC as the fabric sees it. */
export interface MessageTarget {
  /** Is this APIC among the message's destinations? */
  matches(message: InterruptMessage): boolean;
  accept(message: InterruptMessage): void;
  /** The processor priority, for lowest-priority delivery. */
  readonly processorPriority: number;
}

/** An IOAPIC as the fabric sees it. */
export interface EoiListener {
  endOfInterrupt(vector: number): void;
}

export class InterruptFabric implements MsiSink {
  readonly #apics: MessageTarget[] = [];
  readonly #listeners: EoiListener[] = [];

  addApic(apic: MessageTarget): void {
    this.#apics.push(apic);
  }

  addEoiListener(listener: EoiListener): void {
    this.#listeners.push(listener);
  }

  send(address: number, data: number): void {
    this.deliver(decodeMsi(address, data));
  }

  /** @param except an APIC that is left out ("all excluding self") */
  deliver(message: InterruptMessage, except?: MessageTarget): void {
    const targets = this.#apics.filter((apic) => apic !== except && apic.matches(message));
    if (message.delivery !== DELIVERY.lowestPriority) {
      for (const apic of targets) apic.accept(message);
    } else if (targets.length > 0) {
      targets.reduce((best, apic) => (apic.processorPriority < best.processorPriority ? apic : best)).accept(message);
    }
  }

  endOfInterrupt(vector: number): void {
    for (const listener of this.#listeners) listener.endOfInterrupt(vector);
  }
}

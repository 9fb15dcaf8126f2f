/**
 * A PCI Express root port with a slot that devices can be plugged into while the guest runs: PCI Express Base 3.0, 7.8
 * (the capability) and 6.7 (hot plug). It tells the guest by MSI or its interrupt pin.
 */
import type { MsiSink } from '../../contract/index.ts';
import { BRIDGE_IDENTITY, type Bridge, type BridgeOptions, pciBridge } from './bridge.ts';
import { readLittleEndian } from './config-space.ts';
import { Msi } from './msi.ts';

const CAPABILITY_ID = 0x10;
const CAPABILITY_BYTES = 0x3c;
/** Offsets in the capability (7.8). */
const AT = { flags: 0x02, deviceControl: 0x08, linkCapabilities: 0x0c, linkControl: 0x10, linkStatus: 0x12 } as const;
const SLOT = { capabilities: 0x14, control: 0x18, status: 0x1a, rootControl: 0x1c } as const;
/** Version 2, a root port, with a slot. */
const FLAGS = 0x0142;
/** One lane of 2.5 GT/s, which reports when the link is up. */
const LINK = { capabilities: (1 << 20) | 0x11, status: 0x11, active: 1 << 13 } as const;
/** Attention button, power controller, both indicators, hot plug also by surprise; commands complete at once. */
const SLOT_CAPABILITIES = 0x01 | 0x02 | 0x08 | 0x10 | 0x20 | 0x40 | (1 << 18);
const SLOT_NUMBER_SHIFT = 19;
const CONTROL = { attention: 0x0001, presence: 0x0008, interrupts: 0x0020, powerOff: 0x0400, link: 0x1000 } as const;
const CONTROL_WRITABLE = 0x1fff;
/** Indicators and power as they are at first: off. */
const CONTROL_INITIAL = 0x03c0;
const STATUS = { attention: 0x0001, presenceChanged: 0x0008, present: 0x0040, linkChanged: 0x0100 } as const;
const STATUS_CLEARABLE = 0x011f;

export interface RootPortOptions extends Omit<BridgeOptions, 'identity' | 'capabilities' | 'devices'> {
  /** The slot's number for people, 0 to 8191. */
  readonly number: number;
  readonly msi: MsiSink;
  /** The guest switched the slot's power off: what was in it may be taken out. */
  readonly onPowerOff?: () => void;
}

export interface RootPort extends Bridge {
  /** A device is in the slot from the start: no event. */
  occupy(): void;
  /** A device has been plugged in. */
  plugged(): void;
  /** The device is gone, whether the guest had agreed or not. */
  unplugged(): void;
  /** Asks the guest to let the device go, as by a press of the attention button; it then switches the power off. */
  pressButton(): void;
}

export function rootPort(options: RootPortOptions): RootPort {
  const msi: Msi = new Msi({
    vectors: 1,
    sink: options.msi,
    config: () => bridge.pciFunction.config,
    offset: () => bridge.pciFunction.capabilityOffset(0),
  });
  let [isPresent, wasOff, wasPending] = [false, false, false];
  const bridge: Bridge = pciBridge({
    ...options,
    identity: { ...BRIDGE_IDENTITY, deviceId: 0x000c, revision: 0, interruptPin: 1 },
    devices: 1,
    capabilities: [msi.capability, expressCapability(options.number)],
    onConfigChange() {
      msi.update();
      showPresence(); // a reset has taken it away
      const isOff = (register(SLOT.control) & CONTROL.powerOff) !== 0;
      const switchedOff = isOff && !wasOff;
      wasOff = isOff;
      if (switchedOff && isPresent) options.onPowerOff?.();
      update();
      options.onConfigChange?.();
    },
  });
  const { pciFunction } = bridge;
  const at = (offset: number) => pciFunction.capabilityOffset(1) + offset;
  const register = (offset: number) => readLittleEndian(pciFunction.config, at(offset), 2);
  const change = (offset: number, set: number, clear: number) => {
    const value = (register(offset) & ~clear) | set;
    pciFunction.config[at(offset)] = value;
    pciFunction.config[at(offset) + 1] = value >> 8;
  };
  const isPending = () => {
    const [control, status] = [register(SLOT.control), register(SLOT.status)];
    const wanted =
      (control & CONTROL.attention ? STATUS.attention : 0) |
      (control & CONTROL.presence ? STATUS.presenceChanged : 0) |
      (control & CONTROL.link ? STATUS.linkChanged : 0);
    return (control & CONTROL.interrupts) !== 0 && (status & wanted) !== 0;
  };
  /** 6.7.3.4: a message for each time that something begins to wait; the pin while anything does. */
  const update = () => {
    const pending = isPending();
    if (pending && !wasPending) msi.notify(0);
    wasPending = pending;
    pciFunction.setInterrupt(pending && !msi.enabled);
  };
  const tell = (events: number) => {
    change(SLOT.status, events, 0);
    update();
  };
  const showPresence = () => {
    change(SLOT.status, isPresent ? STATUS.present : 0, STATUS.present);
    change(AT.linkStatus, isPresent ? LINK.active : 0, LINK.active);
  };
  const setPresent = (present: boolean) => {
    isPresent = present;
    showPresence();
  };
  return {
    ...bridge,
    get secondary() {
      return bridge.secondary;
    },
    get subordinate() {
      return bridge.subordinate;
    },
    occupy: () => setPresent(true),
    plugged() {
      setPresent(true);
      tell(STATUS.presenceChanged | STATUS.linkChanged);
    },
    unplugged() {
      setPresent(false);
      tell(STATUS.presenceChanged | STATUS.linkChanged);
    },
    pressButton: () => tell(STATUS.attention),
  };
}

function expressCapability(number: number) {
  const [body, writable, clearable] = [0, 0, 0].map(() => new DataView(new ArrayBuffer(CAPABILITY_BYTES - 2)));
  const put = (view: DataView, at: number, value: number) => view.setUint16(at - 2, value, true);
  put(body, AT.flags, FLAGS);
  body.setUint32(AT.linkCapabilities - 2, LINK.capabilities, true);
  put(body, AT.linkStatus, LINK.status);
  body.setUint32(SLOT.capabilities - 2, (SLOT_CAPABILITIES | (number << SLOT_NUMBER_SHIFT)) >>> 0, true);
  put(body, SLOT.control, CONTROL_INITIAL);
  put(writable, AT.deviceControl, 0x002f);
  put(writable, AT.linkControl, 0x0fff & ~0x20);
  put(writable, SLOT.control, CONTROL_WRITABLE);
  put(writable, SLOT.rootControl, 0x001f);
  put(clearable, SLOT.status, STATUS_CLEARABLE);
  const bytes = (view: DataView) => new Uint8Array(view.buffer);
  return { id: CAPABILITY_ID, body: bytes(body), writable: bytes(writable), clearable: bytes(clearable) };
}

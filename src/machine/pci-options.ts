/** Where devices are on the PCI buses, and devices that are nothing but their place and kind. */
import { UserError } from '../base/index.ts';
import { type BridgeKind, INPUT_KINDS, type InputKind, VIRTIO_PCI_MODES, type VirtioPciMode } from '../hw/names.ts';

/** Where a device is, and how its driver reaches it. */
export interface PciPlace {
  /** What it is called when it is to be unplugged. */
  readonly id?: string;
  /** Device number on its bus: 1 to 30 on the root bus; default: the next of those kept for such devices. */
  readonly slot?: number;
  /** The bridge or root port, by its name, that the device is behind; default: it is on the root bus. */
  readonly behind?: string;
  /** The interfaces of virtio that there are: the newer, both, or the legacy one; default: the machine's. */
  readonly virtio?: VirtioPciMode;
}

/** One device for all ports; their far ends are `Machine.consolePorts`, in the same order. */
export interface ConsoleOptions extends PciPlace {
  /** One to 31. */
  readonly ports: readonly ConsolePortOptions[];
}

export interface ConsolePortOptions {
  /** The guest has it as /dev/virtio-ports/NAME. */
  readonly name?: string;
  /** A terminal rather than a plain channel: hvc0 and so on. */
  readonly isConsole?: boolean;
}

/** A memory balloon. What the guest gives up goes back to the host. */
export interface BalloonOptions extends PciPlace {
  /** The guest tells which pages are free when it is asked, as by a migration; default false. */
  readonly freePageHints?: boolean;
  /** The guest reports pages that stay free, and they go back to the host at once; default false. */
  readonly freePageReporting?: boolean;
}

export interface InputOptions extends PciPlace {
  readonly kind: InputKind;
}

/** A bus behind another one. */
export interface BridgeOptions {
  /** `pcie-root-port`: a slot for one device; `pci-bridge`: a conventional bus with 31 places. */
  readonly kind: BridgeKind;
  /** What devices say that are `behind` it. */
  readonly name: string;
  readonly slot?: number;
  /** Another bridge that it is behind, which must be named before it. */
  readonly behind?: string;
}

const CONSOLE_PORTS_MAX = 31;
const INPUTS_MAX = 8;

export interface Placed {
  readonly console: ConsoleOptions | undefined;
  readonly input: readonly InputOptions[];
  readonly bridges: readonly BridgeOptions[];
  readonly virtio: VirtioPciMode;
}

/** @param places of the other devices. Throws UserError that names what is wrong. */
export function checkPlaced(places: readonly PciPlace[], { console, input, bridges, virtio }: Placed): void {
  checkBridges(bridges);
  if (console !== undefined) checkConsole(console);
  checkInput(input);
  for (const { virtio: mode } of [...places, ...input, console ?? {}, { virtio }]) {
    if (mode === undefined || VIRTIO_PCI_MODES.includes(mode)) continue;
    throw new UserError(`virtio devices can be ${VIRTIO_PCI_MODES.join(', ')}, not ${mode}`);
  }
}

function checkConsole({ ports }: ConsoleOptions): void {
  if (ports.length < 1 || ports.length > CONSOLE_PORTS_MAX) {
    throw new UserError(`a console can have 1 to ${CONSOLE_PORTS_MAX} ports, not ${ports.length}`);
  }
  for (const [index, { name, isConsole }] of ports.entries()) {
    if (name === undefined && !isConsole) throw new UserError(`port ${index} of the console needs a name`);
    if (name === undefined) continue;
    if (!/^[\x21-\x2e\x30-\x7e]{1,64}$/.test(name)) {
      throw new UserError(`the name "${name}" of a console port is not 64 characters of ASCII without "/" or fewer`);
    }
    if (ports.findIndex((other) => other.name === name) !== index) {
      throw new UserError(`two console ports have the name ${name}`);
    }
  }
}

function checkInput(input: readonly InputOptions[]): void {
  if (input.length > INPUTS_MAX)
    throw new UserError(`a machine can have ${INPUTS_MAX} input devices, not ${input.length}`);
  for (const { kind } of input) {
    if (!INPUT_KINDS.includes(kind)) {
      throw new UserError(`there is no input device ${kind}, only ${INPUT_KINDS.join(', ')}`);
    }
  }
}

function checkBridges(bridges: readonly BridgeOptions[]): void {
  for (const { kind, name } of bridges) {
    if (kind !== 'pci-bridge' && kind !== 'pcie-root-port') throw new UserError(`there is no bridge of kind ${kind}`);
    if (typeof name !== 'string' || !/^[\w.-]{1,63}$/.test(name)) {
      throw new UserError(`the name "${name}" of a bridge is not 63 letters, digits, ".", "_" and "-" or fewer`);
    }
  }
}

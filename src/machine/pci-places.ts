/** Who has which place on the PCI buses: places that were asked for come first, the others go around them. */
import { UserError } from '../base/index.ts';
import type { Device } from '../contract/index.ts';
import type { PcBoard, PciFunction, PciSegment, PlacedDevice, RootPort, VirtioDevice } from '../hw/index.ts';
import type { MachineConfig } from './config.ts';
import { isPciExtra } from './extra-options.ts';
import type { BridgeOptions, PciPlace } from './pci-options.ts';

/** Device numbers that devices may have on each kind of bus. The chipset has 0 and 31 on the root bus. */
const SLOTS = { root: [1, 30], 'pci-bridge': [1, 31], 'pcie-root-port': [0, 0] } as const;
type BusKind = keyof typeof SLOTS;

interface PciBusUse {
  readonly kind: BusKind;
  readonly segment: PciSegment;
  /** Of a slot that devices can be plugged into. */
  readonly port?: RootPort;
  readonly taken: Set<number>;
  /** What is to be done when a slot's device is let go. */
  readonly ejects: Map<number, () => void>;
}

export interface PciPlaces {
  /** @param preferred the device number on the root bus where nothing else is asked for */
  add(device: VirtioDevice, place: PciPlace, preferred: number): PluggedDevice;
  /** The same while the guest runs, which is told. Throws UserError where devices cannot be plugged in. */
  plug(device: VirtioDevice, place: PciPlace, preferred: number): PluggedDevice;
  /** The guest is done with what is in a slot of the root bus. */
  ejected(slot: number): void;
  /** The same as `add` for any function, which is made for its place. */
  put(place: PciPlace, preferred: number, make: (at: PciSpot) => PlacedParts): PlacedDevice;
}

/** A device in its place. */
export interface PluggedDevice {
  /** Asks the guest to let it go; throws UserError where that cannot be. */
  requestUnplug(): void;
  /** Is called once it is out. */
  onGone: () => void;
}

/** Where a function is. */
export interface PciSpot {
  readonly slot: number;
  readonly bus: PciSegment;
}

/** A function, and what else of it has state. */
export interface PlacedParts {
  readonly pciFunction: PciFunction;
  readonly parts: readonly Device[];
}

/** Makes the bridges; throws UserError when places are taken twice, or lie on buses that are not there. */
export function pciPlaces(board: PcBoard, config: MachineConfig): PciPlaces {
  const buses = new Map<string | undefined, PciBusUse>();
  const busOf = (name: string | undefined): PciBusUse => {
    const bus = buses.get(name);
    if (bus === undefined) {
      const names = [...buses.keys()].filter((one) => one !== undefined);
      throw new UserError(`there is no bus ${name}${names.length > 0 ? `, only ${names.join(', ')}` : ''}`);
    }
    return bus;
  };
  buses.set(undefined, {
    kind: 'root',
    segment: board.rootBus,
    taken: new Set(askedOf(config, undefined)),
    ejects: new Map(),
  });
  for (const bridge of config.bridges) buses.set(bridge.name, addBridge(board, bridge, buses, busOf, config));
  for (const { behind } of allPlaces(config)) busOf(behind);
  const enter = (device: VirtioDevice, bus: PciBusUse, place: PciPlace, slot: number): PluggedDevice => {
    const placed = board.addVirtio(device, { slot, bus: bus.segment, mode: place.virtio ?? config.virtio });
    const { port } = bus;
    const plugged: PluggedDevice = {
      requestUnplug() {
        if (port) port.pressButton();
        else if (bus.kind === 'root' && board.hotplug) board.hotplug.requestUnplug(slot);
        else throw noHotplug(place, bus);
      },
      onGone() {},
    };
    bus.ejects.set(slot, () => {
      bus.ejects.delete(slot);
      placed.remove();
      bus.taken.delete(slot);
      port?.unplugged();
      plugged.onGone();
    });
    return plugged;
  };
  return {
    add(device, place, preferred) {
      const bus = busOf(place.behind);
      const slot = take(bus, place, preferred);
      if (bus.port) bus.port.occupy();
      return enter(device, bus, place, slot);
    },
    plug(device, place, preferred) {
      const bus = busOf(place.behind);
      if (!bus.port && !(bus.kind === 'root' && board.hotplug)) throw noHotplug(place, bus);
      if (place.slot !== undefined && bus.taken.has(place.slot)) {
        throw new UserError(`the place ${place.slot} on ${place.behind ?? 'the PCI bus'} is taken`);
      }
      const slot = take(bus, place, preferred);
      bus.taken.add(slot);
      const plugged = enter(device, bus, place, slot);
      if (bus.port) bus.port.plugged();
      else board.hotplug?.plugged(slot);
      return plugged;
    },
    ejected: (slot) => busOf(undefined).ejects.get(slot)?.(),
    put(place, preferred, make) {
      const bus = busOf(place.behind);
      const at = { slot: take(bus, place, preferred), bus: bus.segment };
      if (bus.port) bus.port.occupy();
      const { pciFunction, parts } = make(at);
      return board.addFunction(pciFunction, parts, at);
    },
  };
}

function noHotplug({ behind }: PciPlace, { kind }: PciBusUse): UserError {
  const name = behind ?? 'pcie.0';
  return new UserError(
    `Bus '${name}' does not support hotplugging${kind === 'root' ? ': pc and pcie-root-port do' : ''}`,
  );
}

function addBridge(
  board: PcBoard,
  { kind, name, ...place }: BridgeOptions,
  buses: ReadonlyMap<string | undefined, PciBusUse>,
  busOf: (name: string | undefined) => PciBusUse,
  config: MachineConfig,
): PciBusUse {
  if (buses.has(name)) throw new UserError(`two bridges have the name ${name}`);
  const above = busOf(place.behind);
  if (kind === 'pcie-root-port' && above.kind !== 'root')
    throw new UserError(`${name}: a root port is on the root bus`);
  const slot = take(above, place, SLOTS.root[1]);
  const options = { name, slot, bus: above.segment };
  const taken = new Set(askedOf(config, name));
  const ejects = new Map<number, () => void>();
  if (kind === 'pci-bridge') return { kind, segment: board.addBridge(kind, options).segment, taken, ejects };
  const onPowerOff = () => ejects.get(0)?.();
  const port = board.addBridge(kind, { ...options, number: slot, onPowerOff });
  return { kind, segment: port.segment, port, taken, ejects };
}

function take({ kind, taken }: PciBusUse, { slot, behind }: PciPlace, preferred: number): number {
  const [first, last] = SLOTS[kind];
  if (slot !== undefined) {
    if (Number.isInteger(slot) && slot >= first && slot <= last) return slot;
    throw new UserError(`there is no place ${slot} on ${behind ?? 'the PCI bus'}: ${first} to ${last} do`);
  }
  const count = last - first + 1;
  for (let step = 0; step < count; step += 1) {
    const free = ((Math.max(preferred, first) - first + step) % count) + first;
    if (taken.has(free)) continue;
    taken.add(free);
    return free;
  }
  throw new UserError(`there are more devices than places on ${behind ?? 'the PCI bus'}`);
}

function allPlaces(config: MachineConfig): PciPlace[] {
  const { bridges, disks, networks, shares, input, rng, balloon, vsock, console, extras } = config;
  const single = [rng, balloon, vsock, console].flatMap((device) => device || []);
  return [...bridges, ...disks, ...networks, ...shares, ...input, ...extras.filter(isPciExtra), ...single];
}

/** The places on a bus that were asked for. */
function askedOf(config: MachineConfig, name: string | undefined): number[] {
  const slots = allPlaces(config).flatMap(({ slot, behind }) => (behind === name && slot !== undefined ? [slot] : []));
  const twice = slots.find((slot, index) => slots.indexOf(slot) < index);
  if (twice !== undefined) throw new UserError(`the place ${twice} on ${name ?? 'the PCI bus'} is taken`);
  return slots;
}

/** The devices of a configuration as a machine takes them. */
import type { ExtraDevice, MachineOptions, NetworkOptions, PciPlace } from '../../machine/index.ts';
import type { DeviceConfig, SystemConfig } from '../options/config.ts';

/** Where a PCI device is. */
export function placeOf({ id, slot, behind, virtio }: DeviceConfig): PciPlace {
  return {
    ...(id === '' ? {} : { id }),
    ...(slot === undefined ? {} : { slot }),
    ...(behind === undefined ? {} : { behind }),
    ...(virtio === undefined ? {} : { virtio }),
  };
}

const INPUTS = {
  'virtio-keyboard-pci': 'keyboard',
  'virtio-mouse-pci': 'mouse',
  'virtio-tablet-pci': 'tablet',
} as const;
const EXTRAS = ['pvpanic', 'pc-testdev', 'vmcoreinfo', 'pvpanic-pci', 'i6300esb', 'edu', 'pci-testdev'] as const;

/** Bridges, input devices, the console and the small ones. */
export function otherDevices({
  others,
  console,
  consolePorts,
}: Pick<SystemConfig, 'others' | 'console' | 'consolePorts'>): Pick<
  MachineOptions,
  'bridges' | 'input' | 'extras' | 'console'
> {
  const ports = consolePorts.map(({ name, isConsole }, index) => ({
    isConsole,
    ...(name === undefined ? (isConsole ? {} : { name: `port${index}` }) : { name }),
  }));
  return {
    bridges: others.flatMap((device) => {
      const { driver, id } = device;
      return driver === 'pcie-root-port' || driver === 'pci-bridge'
        ? [{ kind: driver, name: id, ...placeOf(device) }]
        : [];
    }),
    input: others.flatMap((device) => {
      const kind = INPUTS[device.driver as keyof typeof INPUTS];
      return kind === undefined ? [] : [{ kind, ...placeOf(device) }];
    }),
    extras: others.flatMap((device) => {
      const kind = EXTRAS.find((one) => one === device.driver);
      return kind === undefined ? [] : [{ kind, ...placeOf(device) } as ExtraDevice];
    }),
    ...(console === undefined || ports.length === 0 ? {} : { console: { ports, ...placeOf(console) } }),
  };
}

export function networkOptions(
  { netdevs }: Pick<SystemConfig, 'netdevs'>,
  { device, netdev, mac }: SystemConfig['nics'][number],
): NetworkOptions {
  const { kind, hostForwards, restrict } = netdevs.find(({ id }) => id === netdev)!;
  return { kind, hostForwards, restrict, ...(mac === undefined ? {} : { mac }), ...placeOf(device) };
}

/** Where devices are on the PCI bus: `--bridge`, `--virtio`, and the settings of other options that place a device. */
import { type BridgeKind, INPUT_KINDS, VIRTIO_PCI_MODES, type VirtioPciMode } from '../hw/names.ts';
import type { BridgeOptions, InputOptions, PciPlace } from '../machine/index.ts';
import { splitCommas, suggestion, UsageError } from './options.ts';

export const BRIDGE_VALUE = 'pcie-root-port|pci-bridge,name=NAME[,slot=NUMBER,behind=NAME]';
export const PLACE_NAMES = ['slot', 'behind', 'virtio'];

const KINDS: readonly BridgeKind[] = ['pcie-root-port', 'pci-bridge'];

/** @throws UsageError that names what is wrong */
export function parseBridge(text: string): BridgeOptions {
  const [kind, ...settings] = splitCommas(text);
  const known = KINDS.find((one) => one === kind);
  if (known === undefined)
    throw new UsageError(`--bridge: there is no bridge ${kind}, only ${KINDS.join(', ')}${suggestion(kind, KINDS)}`);
  const place: Placing = {};
  let name: string | undefined;
  for (const setting of settings) {
    const [, key, value = ''] = /^([^=]*)=(.*)$/s.exec(setting) ?? [];
    if (key === 'name') name = value;
    else if (key === 'virtio' || !setPlace(place, key ?? '', value))
      throw new UsageError(
        `--bridge: unknown setting "${setting}"${suggestion(key ?? '', ['name', 'slot', 'behind'])}`,
      );
  }
  if (name === undefined) throw new UsageError(`--bridge ${text}: it needs a name, as in --bridge ${BRIDGE_VALUE}`);
  return { kind: known, name, ...place };
}

/** @throws UsageError that names what is wrong */
export function parseInput(text: string): InputOptions {
  const kind = INPUT_KINDS.find((one) => one === text);
  if (kind !== undefined) return { kind };
  throw new UsageError(`--input: there is no ${text}, only ${INPUT_KINDS.join(', ')}${suggestion(text, INPUT_KINDS)}`);
}

/** @throws UsageError that names what is wrong */
export function parseVirtioMode(option: string, text: string): VirtioPciMode {
  const mode = VIRTIO_PCI_MODES.find((one) => one === text);
  if (mode === undefined)
    throw new UsageError(`${option}: virtio devices can be ${VIRTIO_PCI_MODES.join(', ')}, not ${text}`);
  return mode;
}

export type Placing = { -readonly [Name in keyof PciPlace]: PciPlace[Name] };

/** Takes a setting that places a device; false when it is another one. @throws UsageError */
export function setPlace(place: Placing, name: string, value: string | undefined): boolean {
  if (name === 'slot' && /^\d{1,2}$/.test(value ?? '')) place.slot = Number(value);
  else if (name === 'behind' && value) place.behind = value;
  else if (name === 'virtio' && value !== undefined) place.virtio = parseVirtioMode('virtio=', value);
  else return false;
  return true;
}

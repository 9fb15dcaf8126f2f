/** The value of `--net`: `user` and settings of QEMU's `-netdev user`, `mac=ADDRESS`, `queues=PAIRS` and `loss=PERCENT` beside. */
import type { NetworkOptions } from '../machine/index.ts';
import { parseMac } from '../machine/index.ts';
import { parseUserNetText } from '../net/index.ts';
import { splitCommas, UsageError } from './options.ts';
import { type Placing, setPlace } from './pci-option.ts';

/** @throws UsageError that names what is wrong */
export function parseNetwork(text: string): NetworkOptions {
  const [kind, ...settings] = splitCommas(text);
  if (kind !== 'user') throw new UsageError(`--net: there is no network ${kind}, only user`);
  const users: string[] = [];
  const network: Placing & { mac?: string; queues?: number; lossPercent?: number } = {};
  for (const setting of settings) {
    const [, name, value = ''] = /^(mac|loss|queues|slot|behind|virtio)=(.*)$/s.exec(setting) ?? [];
    if (name === 'mac') network.mac = checkedMac(value);
    else if (name === 'queues') network.queues = checkedQueues(value);
    else if (name === 'loss') network.lossPercent = checkedLoss(value);
    else if (name !== undefined && setPlace(network, name, value)) continue;
    else users.push(setting.replaceAll(',', ',,'));
  }
  const userOptions = users.join(',');
  checkUserOptions(userOptions);
  return { kind, ...(userOptions === '' ? {} : { userOptions }), ...network };
}

function checkUserOptions(text: string): void {
  try {
    parseUserNetText(text);
  } catch (error) {
    throw new UsageError(`--net: ${(error as Error).message}`);
  }
}

function checkedQueues(text: string): number {
  if (/^\d{1,3}$/.test(text)) return Number(text);
  throw new UsageError(`--net: queues=${text} is not a number of queue pairs`);
}

function checkedLoss(text: string): number {
  if (/^\d{1,3}(\.\d+)?%?$/.test(text) && Number.parseFloat(text) <= 100) return Number.parseFloat(text);
  throw new UsageError(`--net: loss=${text} is not 0 to 100, in percent`);
}

function checkedMac(text: string): string {
  try {
    parseMac(text);
    return text;
  } catch (error) {
    throw new UsageError(`--net: ${(error as Error).message}`);
  }
}

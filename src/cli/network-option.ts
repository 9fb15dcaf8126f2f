/** The value of `--net`: `user[,hostfwd=RULE]...[,restrict][,mac=ADDRESS]`. */
import type { NetworkOptions } from '../machine/index.ts';
import { parseMac } from '../machine/index.ts';
import { suggestion, UsageError } from './options.ts';

export const NET_VALUE = 'user[,hostfwd=tcp::PORT-:PORT,restrict,mac=ADDRESS]';

const NAMES = ['hostfwd', 'restrict', 'mac'];

/** @throws UsageError that names what is wrong */
export function parseNetwork(text: string): NetworkOptions {
  const [kind, ...settings] = text.split(',');
  if (kind !== 'user') throw new UsageError(`--net: there is no network ${kind}, only user`);
  const hostForwards: string[] = [];
  let [restrict, mac]: [boolean, string | undefined] = [false, undefined];
  for (const setting of settings) {
    const [, name, , value] = /^([^=]*)(=(.*))?$/s.exec(setting) ?? [];
    if (name === 'hostfwd' && value !== undefined) hostForwards.push(value);
    else if (name === 'restrict' && (value === undefined || value === 'on')) restrict = true;
    else if (name === 'mac' && value !== undefined) mac = checkedMac(value);
    else throw new UsageError(`--net: unknown setting "${setting}"${suggestion(name, NAMES)}`);
  }
  return { kind, hostForwards, restrict, mac };
}

function checkedMac(text: string): string {
  try {
    parseMac(text);
    return text;
  } catch (error) {
    throw new UsageError(`--net: ${(error as Error).message}`);
  }
}

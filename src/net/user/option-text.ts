/** The options of `-netdev user,…` and `--net user,…` as QEMU writes them. */
import { UserError } from '../../base/index.ts';
import type { UserNetOptions } from './config.ts';

/** What the text asks for; the forwarding rules are added once the network is there. */
export interface UserNetText {
  readonly options: UserNetOptions;
  readonly hostForwards: readonly string[];
  readonly guestForwards: readonly string[];
  /** Folder that TFTP serves. */
  readonly tftp?: string;
}

type Mutable<Value> = { -readonly [Key in keyof Value]: Value[Key] };
type TextOption = 'net' | 'host' | 'dns' | 'dhcpStart' | 'ipv6Prefix' | 'ipv6Host' | 'ipv6Dns';
type NameOption = 'hostName' | 'domainName' | 'bootFile' | 'tftpServerName';

const TEXT_OPTIONS: Readonly<Record<string, TextOption | NameOption>> = {
  net: 'net',
  host: 'host',
  dns: 'dns',
  dhcpstart: 'dhcpStart',
  'ipv6-prefix': 'ipv6Prefix',
  'ipv6-host': 'ipv6Host',
  'ipv6-dns': 'ipv6Dns',
  hostname: 'hostName',
  domainname: 'domainName',
  bootfile: 'bootFile',
  'tftp-server-name': 'tftpServerName',
};
const SWITCH_OPTIONS: Readonly<Record<string, 'ipv4' | 'ipv6' | 'restrict'>> = {
  ipv4: 'ipv4',
  ipv6: 'ipv6',
  restrict: 'restrict',
};
const OTHERS = ['ipv6-prefixlen', 'dnssearch', 'tftp', 'hostfwd', 'guestfwd'];

/**
 * @param text What follows `user`: `hostfwd=tcp::2222-:22,restrict=on`; a comma in a value is written twice.
 * @throws UserError that names the option
 */
export function parseUserNetText(text: string): UserNetText {
  const options: Mutable<UserNetOptions> = {};
  const [hostForwards, guestForwards, searchDomains]: [string[], string[], string[]] = [[], [], []];
  let tftp: string | undefined;
  for (const part of splitOptions(text)) {
    const equals = part.indexOf('=');
    const [key, value] = equals < 0 ? [part, 'on'] : [part.slice(0, equals), part.slice(equals + 1)];
    if (TEXT_OPTIONS[key] !== undefined) options[TEXT_OPTIONS[key]] = value;
    else if (SWITCH_OPTIONS[key] !== undefined) options[SWITCH_OPTIONS[key]] = switchValue(key, value);
    else if (key === 'ipv6-prefixlen') options.ipv6PrefixLength = value === '' ? Number.NaN : Number(value);
    else if (key === 'dnssearch') searchDomains.push(value);
    else if (key === 'tftp') tftp = value;
    else if (key === 'hostfwd') hostForwards.push(value);
    else if (key === 'guestfwd') guestForwards.push(value);
    else {
      const known = [...Object.keys(TEXT_OPTIONS), ...Object.keys(SWITCH_OPTIONS), ...OTHERS].sort();
      throw new UserError(`network: there is no option ${key}; there are ${known.join(', ')}`);
    }
  }
  if (searchDomains.length > 0) options.searchDomains = searchDomains;
  return { options, hostForwards, guestForwards, tftp };
}

/** At commas; two of them stand for one in a value. */
function splitOptions(text: string): string[] {
  return text
    .replaceAll(',,', '\0')
    .split(',')
    .map((part) => part.replaceAll('\0', ','))
    .filter((part) => part !== '');
}

function switchValue(key: string, value: string): boolean {
  if (['on', 'yes', 'y', 'true'].includes(value)) return true;
  if (['off', 'no', 'n', 'false'].includes(value)) return false;
  throw new UserError(`network: ${key}=${value} must be on or off`);
}

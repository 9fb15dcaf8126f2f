/** How this host resolves names: /etc/resolv.conf and /etc/hosts, read again when they change. */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import type { HostEndpoint, HostResolver } from '../../contract/index.ts';

export interface ResolverFiles {
  readonly resolvConf?: string;
  readonly hosts?: string;
}

const DNS_PORT = 53;
const LINES_MAX = 100_000;

export function nodeResolver(files: ResolverFiles = {}): HostResolver {
  const resolvConf = watchedFile(files.resolvConf ?? '/etc/resolv.conf', parseResolvConf);
  const hosts = watchedFile(files.hosts ?? '/etc/hosts', parseHosts);
  return {
    servers: () => resolvConf().servers,
    searchDomains: () => resolvConf().searchDomains,
    hosts: (name) => hosts().get(name.toLowerCase()) ?? [],
  };
}

/** A file's content, parsed when its time of change is another; a missing one is empty. */
function watchedFile<Value>(path: string, parse: (text: string) => Value): () => Value {
  let cached: { readonly changedMillis: number; readonly value: Value } | undefined;
  return () => {
    const changedMillis = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (cached?.changedMillis !== changedMillis) cached = { changedMillis, value: parse(readText(path)) };
    return cached.value;
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function linesOf(text: string): string[][] {
  return text
    .split('\n', LINES_MAX)
    .map((line) => line.replace(/[#;].*$/, '').trim())
    .filter((line) => line !== '')
    .map((line) => line.split(/\s+/));
}

/** resolv.conf(5); the last of `domain` and `search` counts, and without a server it is this host. */
export function parseResolvConf(text: string): {
  readonly servers: readonly HostEndpoint[];
  readonly searchDomains: readonly string[];
} {
  const lines = linesOf(text);
  const addresses = lines
    .filter(([key, value]) => key === 'nameserver' && isIP(value ?? '') !== 0)
    .map(([, value]) => value);
  const searchLines = lines.filter(([key]) => key === 'search' || key === 'domain');
  const searchDomains = (searchLines.at(-1)?.slice(1) ?? []).filter((domain) =>
    /^[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$/i.test(domain),
  );
  const all = addresses.length === 0 ? ['127.0.0.1'] : addresses;
  return { servers: all.map((address) => ({ kind: 'inet', address, port: DNS_PORT })), searchDomains };
}

/** hosts(5): by name in lower case. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const table = new Map<string, string[]>();
  for (const [address, ...names] of linesOf(text)) {
    if (isIP(address) === 0) continue;
    for (const name of names) {
      const addresses = table.get(name.toLowerCase()) ?? [];
      if (!addresses.includes(address)) addresses.push(address);
      table.set(name.toLowerCase(), addresses);
    }
  }
  return table;
}

/** vireo-nbd --list: what another server exports. */
import { UserError } from '../../base/index.ts';
import { EXPORT_FLAG, type ListedExport, listNbdExports, NBD_PORT } from '../../block/index.ts';
import { connectByteStream } from '../../host/node/index.ts';
import type { Objects } from '../drivers/objects.ts';
import { endpointOf, type NbdArguments } from './options.ts';

export async function listCommand(args: NbdArguments, objects: Objects): Promise<number> {
  if (args.names.length > 0) throw new UserError('List mode is incompatible with a file name');
  const endpoint = endpointOf(args, 'localhost', NBD_PORT);
  const credentials = args.get('tls-creds');
  const hostname = args.get('tls-hostname');
  const stream = await connectByteStream(endpoint, {
    ...(credentials === undefined ? {} : { tls: await objects.tls(credentials, 'client') }),
    ...(hostname === undefined ? {} : { hostname }),
  });
  try {
    const listed = await listNbdExports(stream, { useTls: credentials !== undefined });
    process.stdout.write(`exports available: ${listed.length}\n${listed.map(describe).join('')}`);
    return 0;
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

function describe({ name, description, facts, contexts }: ListedExport): string {
  const lines = [` export: '${printable(name)}'`];
  if (description !== undefined) lines.push(`  description: ${printable(description)}`);
  if (facts !== undefined) {
    const { flags, sizeBytes } = facts;
    const words = Object.entries(EXPORT_FLAG)
      .filter(([word, bit]) => word !== 'has-flags' && (flags & bit) !== 0)
      .map(([word]) => `${word} `);
    lines.push(`  size:  ${sizeBytes}`, `  flags: 0x${flags.toString(16)} ( ${words.join('')})`);
    if (facts.hasBlockSizes) {
      lines.push(
        `  min block: ${facts.minBytes}`,
        `  opt block: ${facts.preferredBytes}`,
        `  max block: ${facts.maxBytes}`,
      );
    }
  }
  if (contexts.length > 0) {
    lines.push(
      `  available meta contexts: ${contexts.length}`,
      ...contexts.map((context) => `   ${printable(context)}`),
    );
  }
  return `${lines.join('\n')}\n`;
}

/** A peer's text without what could steer a terminal. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}

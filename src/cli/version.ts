/** What the programs call themselves. */
import { readFile } from 'node:fs/promises';

export async function version(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

export async function programName(): Promise<string> {
  return `Vireo ${await version()}`;
}

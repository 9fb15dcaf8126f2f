/** Vireo's folder in the user's cache folder, and what is made there once of Debian's packages. */
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Apt, type Architecture, openApt } from './apt.ts';

/** A file of `cache`; made by `build` with apt and an empty folder when it is not there yet. */
export async function cachedFile(
  cache: string,
  name: string,
  build: (apt: Apt, folder: string) => Promise<Uint8Array>,
  architecture: Architecture = 'amd64',
): Promise<Uint8Array> {
  const path = join(cache, name);
  const existing = await readFile(path).catch(() => undefined);
  if (existing !== undefined) return existing;
  return building(cache, architecture, async (apt, folder, temporary) => {
    const bytes = await build(apt, folder);
    await writeFile(join(temporary, 'file'), bytes);
    await rename(join(temporary, 'file'), path);
    return bytes;
  });
}

/** A folder of `cache`, filled by `build` when it is not there yet; its path. */
export async function cachedFolder(
  cache: string,
  name: string,
  build: (apt: Apt, folder: string) => Promise<void>,
): Promise<string> {
  const path = join(cache, name);
  const isThere = async () => (await stat(path).catch(() => undefined)) !== undefined;
  if (await isThere()) return path;
  return building(cache, 'amd64', async (apt, folder) => {
    await build(apt, folder);
    // Another run may have been quicker.
    await rename(folder, path).catch(async (error) => {
      if (!(await isThere())) throw error;
    });
    return path;
  });
}

/** Runs `build` with apt and an empty folder inside one that is removed afterwards. */
async function building<T>(
  cache: string,
  architecture: Architecture,
  build: (apt: Apt, folder: string, temporary: string) => Promise<T>,
): Promise<T> {
  await mkdir(cache, { recursive: true });
  const temporary = await mkdtemp(join(cache, 'tmp-'));
  try {
    const apt = await openApt(temporary, process.env, architecture);
    await apt.update();
    const folder = join(temporary, 'root');
    await mkdir(folder);
    return await build(apt, folder, temporary);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/**
 * The default guest: Debian's cloud kernel and a busybox initramfs, fetched once
 * into the user's cache folder and checked at each use.
 */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../../base/index.ts';
import { openApt } from './apt.ts';
import { cacheFolder } from './cache-folder.ts';
import { buildInitramfs } from './initramfs.ts';
import { type GuestKernel, modulesOf } from './modules.ts';

export interface DefaultGuest {
  /** A bzImage. */
  readonly kernel: Uint8Array;
  readonly initramfs: Uint8Array<ArrayBuffer>;
  /** Console on ttyS0, no boot messages, reset on panic. */
  readonly commandLine: string;
}

export interface DefaultGuestOptions {
  /** Told what is under way, one line a step; silent when the cache has it all. */
  readonly onProgress?: (step: string) => void;
  /** Default `cloud`; only `generic` can mount shared folders. */
  readonly guestKernel?: GuestKernel;
  /** For PATH and XDG_CACHE_HOME. */
  readonly environment?: NodeJS.ProcessEnv;
}

const KERNEL_META_PACKAGE = { cloud: 'linux-image-cloud-amd64', generic: 'linux-image-amd64' } as const;
const BUSYBOX_PACKAGE = 'busybox-static';
const GUEST_FOLDER = { cloud: 'guest-debian-cloud-amd64', generic: 'guest-debian-amd64' } as const;
const TEMPORARY_PREFIX = 'tmp-';
const COMMAND_LINE = 'console=ttyS0 quiet panic=-1';
const MILLIS_PER_DAY = 86_400_000;

/** What lies in the cache folder beside the files. */
interface Manifest {
  /** Package name to version. */
  readonly packages: Readonly<Record<string, string>>;
  /** File name to SHA-256, lowercase hexadecimal. */
  readonly files: Readonly<Record<string, string>>;
}

/** Throws a `UserError` when the cache has no guest and apt cannot get one. */
export async function defaultGuest(options: DefaultGuestOptions = {}): Promise<DefaultGuest> {
  const { guestKernel = 'cloud', environment = process.env, onProgress = () => {} } = options;
  const cache = cacheFolder(environment);
  const fetching = { kernel: guestKernel, environment, onProgress };
  const files = (await load(join(cache, GUEST_FOLDER[guestKernel]), guestKernel)) ?? (await fetchInto(cache, fetching));
  const modules = moduleFiles(guestKernel).map((name) => ({ name, data: files[name] }));
  const initramfs = buildInitramfs(files.busybox, modules, guestKernel);
  return { kernel: files.vmlinuz, initramfs, commandLine: COMMAND_LINE };
}

function moduleFiles(kernel: GuestKernel): string[] {
  return modulesOf(kernel).map((name) => `${name}.ko`);
}

function filesOf(kernel: GuestKernel): string[] {
  return ['vmlinuz', 'busybox', ...moduleFiles(kernel)];
}

interface Fetching {
  readonly kernel: GuestKernel;
  readonly environment: NodeJS.ProcessEnv;
  readonly onProgress: (step: string) => void;
}

type GuestFiles = Readonly<Record<string, Uint8Array>>;

/** Reads a prepared folder; undefined when it is missing, incomplete or damaged. */
async function load(folder: string, kernel: GuestKernel): Promise<GuestFiles | undefined> {
  const names = filesOf(kernel);
  try {
    const manifest: Manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'));
    const entries = await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const));
    const files = Object.fromEntries(entries);
    return names.every((name) => sha256Of(files[name]) === manifest.files[name]) ? files : undefined;
  } catch {
    return undefined;
  }
}

async function fetchInto(cache: string, fetching: Fetching): Promise<GuestFiles> {
  const { kernel } = fetching;
  let temporary: string | undefined;
  try {
    await mkdir(cache, { recursive: true });
    await removeLeftovers(cache);
    temporary = await mkdtemp(join(cache, TEMPORARY_PREFIX));
    const staged = await stage(temporary, fetching);
    const files = await load(staged, kernel);
    if (files === undefined) throw new UserError(`${cache} does not keep what is written to it`);
    await publish(staged, join(cache, GUEST_FOLDER[kernel]), join(temporary, 'replaced'), kernel);
    return files;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(`cannot get the default guest: ${reason}; boot your own with --kernel FILE --initrd FILE`);
  } finally {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
  }
}

/** Gets and unpacks the packages below `temporary`; returns the folder to publish. */
async function stage(temporary: string, { kernel, environment, onProgress }: Fetching) {
  const root = join(temporary, 'root');
  const staged = join(temporary, 'staged');
  await mkdir(staged);

  onProgress("reading Debian's package lists");
  const apt = await openApt(temporary, environment);
  await apt.update();
  const meta = await apt.show(KERNEL_META_PACKAGE[kernel]);
  const kernelName = meta.depends.find((name) => name.startsWith('linux-image-'));
  if (kernelName === undefined) throw new UserError(`package ${meta.name} names no kernel package`);
  const packages = [await apt.show(kernelName), await apt.show(BUSYBOX_PACKAGE)];
  for (const debianPackage of packages) {
    onProgress(`downloading ${debianPackage.name} ${debianPackage.version}`);
    await apt.unpack([debianPackage], root);
  }

  await copyFile(await findFile(root, kernelName, /^boot\/vmlinuz-/), join(staged, 'vmlinuz'));
  for (const name of moduleFiles(kernel)) {
    const pattern = new RegExp(`^(usr/)?lib/modules/.*/${name.replace('.', '\\.')}$`);
    await copyFile(await findFile(root, kernelName, pattern), join(staged, name));
  }
  await copyFile(await findFile(root, BUSYBOX_PACKAGE, /^(usr\/)?bin\/busybox$/), join(staged, 'busybox'));
  const hashes = await Promise.all(
    filesOf(kernel).map(async (name) => [name, sha256Of(await readFile(join(staged, name)))]),
  );
  const manifest: Manifest = {
    packages: Object.fromEntries(packages.map(({ name, version }) => [name, version])),
    files: Object.fromEntries(hashes),
  };
  await writeFile(join(staged, 'manifest.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  return staged;
}

async function findFile(root: string, packageName: string, pattern: RegExp): Promise<string> {
  const path = (await readdir(root, { recursive: true })).find((name) => pattern.test(name));
  if (path === undefined) throw new UserError(`package ${packageName} holds no file like ${pattern.source}`);
  return join(root, path);
}

/** Puts a finished folder in its place in one step; a good one that another run put there stays. */
async function publish(staged: string, place: string, replaced: string, kernel: GuestKernel): Promise<void> {
  if (await tryRename(staged, place)) return;
  if ((await load(place, kernel)) !== undefined) return;
  await tryRename(place, replaced);
  await tryRename(staged, place);
}

/** False when the target is there already or the source is gone: another run was quicker. */
async function tryRename(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (['EEXIST', 'ENOTEMPTY', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** Temporary folders of runs that were killed. */
async function removeLeftovers(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const path = join(cache, name);
    if (!name.startsWith(TEMPORARY_PREFIX)) continue;
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
    if (Date.now() - mtimeMs > MILLIS_PER_DAY) await rm(path, { recursive: true, force: true });
  }
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

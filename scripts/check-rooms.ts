/**
 * Holds the import rules of the rooms (docs/adr/0002): a room imports only rooms
 * that its row names, only through their faces, and a pure room imports
 * nothing from outside the repository. Each room's tsconfig says the same to the compiler.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Room {
  /** Rooms it may import. */
  readonly imports: readonly string[];
  /** Neither Node's modules nor packages: the same code runs in a browser. */
  readonly pure: boolean;
}

const joints = ['base', 'contract'];
const devices = [...joints, 'hw', 'block', 'net', 'migration'];
const machine = [...devices, 'target', 'accel'];
const monitor = [...machine, 'machine'];
const virt = [...monitor, 'monitor'];
const everything = [...virt, 'virt', 'host/node', 'host/browser'];

/** From the bottom up: arrows point only to rooms above in this table. */
export const ROOMS: Readonly<Record<string, Room>> = {
  base: { imports: [], pure: true },
  contract: { imports: ['base'], pure: true },
  target: { imports: joints, pure: true },
  accel: { imports: [...joints, 'target'], pure: true },
  hw: { imports: joints, pure: true },
  block: { imports: joints, pure: true },
  net: { imports: joints, pure: true },
  migration: { imports: joints, pure: true },
  machine: { imports: machine, pure: true },
  monitor: { imports: monitor, pure: true },
  virt: { imports: virt, pure: true },
  'host/node': { imports: joints, pure: false },
  'host/browser': { imports: joints, pure: true },
  cli: { imports: everything, pure: false },
  web: { imports: everything, pure: false },
};

/** What a room shows to others: its index.ts, and where programs must start fast, a file with less behind it. */
const FURTHER_FACES: readonly string[] = [
  'src/accel/kvm/index.ts',
  'src/accel/tcg/index.ts',
  'src/block/core.ts',
  'src/host/node/block.ts',
  'src/host/node/kvm-host.ts',
  'src/host/node/machine.ts',
  'src/host/node/thread.ts',
  'src/hw/names.ts',
];

/** The room of a file, e.g. `hw` for `src/hw/bus/bus.ts`, or undefined outside the rooms. */
function roomOf(path: string): string | undefined {
  return Object.keys(ROOMS).find((room) => path.startsWith(`src/${room}/`));
}

/** Test code: may use Node's modules and the adapters to it, and is in no room's library. */
function isTest(path: string): boolean {
  return path.endsWith('.test.ts') || path.includes('/testing/');
}

/** The module names in a file's import and export statements and import() calls. */
export function importsOf(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  const pattern = /^\s*(?:(?:import|export)\b[^;'"]*?\bfrom|import)\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm;
  return [...code.matchAll(pattern)].map((match) => match[1] ?? match[2]);
}

/**
 * What is wrong with one file's imports, one line a fault.
 * @param path From the repository's root, with forward slashes.
 */
export function faultsOfFile(path: string, source: string): string[] {
  const room = roomOf(path);
  if (room === undefined) return path.startsWith('src/') ? [`${path}: is in no room of scripts/check-rooms.ts`] : [];
  return importsOf(source).flatMap((specifier) => {
    const fault = specifier.startsWith('.')
      ? faultOfRelative(room, path, join(dirname(path), specifier).replaceAll('\\', '/'))
      : faultOfPackage(room, path, specifier);
    return fault === undefined ? [] : [`${path}: imports ${specifier}: ${fault}`];
  });
}

function faultOfRelative(room: string, path: string, target: string): string | undefined {
  const targetRoom = roomOf(target);
  if (targetRoom === room) return undefined;
  if (targetRoom === undefined) return 'is in no room';
  // A room's tests may try it on the real host, as they may use Node itself.
  const mayImport = ROOMS[room].imports.includes(targetRoom) || (isTest(path) && targetRoom === 'host/node');
  if (!mayImport) return `room ${room} may not import room ${targetRoom}`;
  const index = `src/${targetRoom}/index.ts`;
  const isFace = target === index || FURTHER_FACES.includes(target);
  return isFace || target.startsWith(`src/${targetRoom}/testing/`) ? undefined : `reaches past ${index}`;
}

function faultOfPackage(room: string, path: string, specifier: string): string | undefined {
  if (!ROOMS[room].pure || isTest(path)) return undefined;
  return specifier.startsWith('node:') ? `room ${room} runs without Node` : `room ${room} uses no packages`;
}

/** Where a room's tsconfig refers to rooms that its row does not name. */
export function faultsOfReferences(room: string, references: readonly string[]): string[] {
  return references
    .filter((reference) => !ROOMS[room].imports.includes(reference))
    .map((reference) => `src/${room}/tsconfig.json: room ${room} may not refer to room ${reference}`);
}

function checkRepository(root: string): string[] {
  const paths = globSync('src/**/*.ts', { cwd: root }).map((path) => path.replaceAll('\\', '/'));
  const ofFiles = paths.flatMap((path) => faultsOfFile(path, readFileSync(join(root, path), 'utf8')));
  const ofReferences = globSync('src/**/tsconfig.json', { cwd: root }).flatMap((path) => {
    const folder = dirname(join(root, path));
    const toRoom = (to: string) => relative(join(root, 'src'), to).replaceAll('\\', '/');
    const { references = [] } = JSON.parse(readFileSync(join(root, path), 'utf8')) as {
      references?: { path: string }[];
    };
    return faultsOfReferences(
      toRoom(folder),
      references.map((reference) => toRoom(join(folder, reference.path))),
    );
  });
  return [...ofFiles, ...ofReferences];
}

if (import.meta.main) {
  const faults = checkRepository(fileURLToPath(new URL('../', import.meta.url)));
  for (const fault of faults) process.stderr.write(`${fault}\n`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}

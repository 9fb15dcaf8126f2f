/** The vireo-img program: qemu-img's commands, options, output and exit codes. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../../base/index.ts';

interface Command {
  readonly usage: string;
  /** Each command is loaded when it is asked for: starting is most of what small commands cost. */
  readonly load: () => Promise<(args: readonly string[]) => Promise<number>>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  amend: {
    usage: '[--image-opts] [-p] [-q] [-f fmt] [-t cache] -o options filename',
    load: async () => (await import('./amend.ts')).amendCommand,
  },
  bench: {
    usage:
      '[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [--no-drain] [-i aio] [-n] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename',
    load: async () => (await import('./bench.ts')).benchCommand,
  },
  bitmap: {
    usage:
      '(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F source_fmt]] [-g granularity] [--image-opts | -f fmt] filename bitmap',
    load: async () => (await import('./bitmap.ts')).bitmapCommand,
  },
  check: {
    usage: '[--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename',
    load: async () => (await import('./check.ts')).checkCommand,
  },
  commit: {
    usage: '[--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-d] [-p] filename',
    load: async () => (await import('./change.ts')).commitCommand,
  },
  compare: {
    usage: '[--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 filename2',
    load: async () => (await import('./compare.ts')).compareCommand,
  },
  convert: {
    usage:
      '[--image-opts] [--target-image-opts] [--target-is-zero] [-U] [-C] [-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] [-l snapshot_param] [-S sparse_size] [-m num_coroutines] [-W] [--salvage] [--bitmaps [--skip-broken-bitmaps]] filename [filename2 [...]] output_filename',
    load: async () => (await import('./convert.ts')).convertCommand,
  },
  create: {
    usage: '[-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]',
    load: async () => (await import('./create.ts')).createCommand,
  },
  dd: {
    usage:
      '[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] if=input of=output',
    load: async () => (await import('./convert.ts')).ddCommand,
  },
  info: {
    usage: '[--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename',
    load: async () => (await import('./info.ts')).infoCommand,
  },
  map: {
    usage: '[--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename',
    load: async () => (await import('./map.ts')).mapCommand,
  },
  measure: {
    usage: '[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--image-opts] [-f fmt] filename]',
    load: async () => (await import('./compare.ts')).measureCommand,
  },
  rebase: {
    usage:
      '[--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file [-F backing_fmt] filename',
    load: async () => (await import('./change.ts')).rebaseCommand,
  },
  resize: {
    usage: '[--image-opts] [-f fmt] [-q] [--preallocation=prealloc] [--shrink] filename [+ | -]size',
    load: async () => (await import('./change.ts')).resizeCommand,
  },
  snapshot: {
    usage: '[--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename',
    load: async () => (await import('./change.ts')).snapshotCommand,
  },
};

async function help(): Promise<string> {
  const { FORMAT_DRIVERS } = await import('../drivers/registry.ts');
  const commands = Object.entries(COMMANDS).map(([name, { usage }]) => `  ${name} ${usage}\n`);
  const formats = FORMAT_DRIVERS.map(({ name }) => name).toSorted();
  return `usage: vireo-img command [command options]\n\nCommand syntax:\n${commands.join('')}\nSupported formats: ${formats.join(' ')}\n`;
}

/** Runs the program on a command line without its first two words; returns the exit code. */
export async function runImg(args: readonly string[]): Promise<number> {
  try {
    return await dispatch(args);
  } catch (error) {
    if (error instanceof UserError) process.stderr.write(`vireo-img: ${error.message}\n`);
    else
      process.stderr.write(`vireo-img: a mistake of ours: ${error instanceof Error ? error.stack : String(error)}\n`);
    return 1;
  }
}

async function dispatch([name, ...rest]: readonly string[]): Promise<number> {
  if (name === undefined) throw new UserError('Not enough arguments: vireo-img --help lists the commands');
  if (name === '-h' || name === '--help') {
    process.stdout.write(await help());
    return 0;
  }
  if (name === '-V' || name === '--version') {
    const text = await readFile(new URL('../../../package.json', import.meta.url), 'utf8');
    process.stdout.write(`vireo-img ${(JSON.parse(text) as { version: string }).version}\n`);
    return 0;
  }
  if (!Object.hasOwn(COMMANDS, name))
    throw new UserError(`Command not found: ${name}: vireo-img --help lists the commands`);
  const { usage, load } = COMMANDS[name];
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(`usage: vireo-img ${name} ${usage}\n`);
    return 0;
  }
  const run = await load();
  return run(rest);
}

/** The vireo-img program: qemu-img's commands, options, output and exit codes. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../../base/index.ts';
import { amendCommand } from './amend.ts';
import { benchCommand } from './bench.ts';
import { bitmapCommand } from './bitmap.ts';
import { commitCommand, rebaseCommand, resizeCommand, snapshotCommand } from './change.ts';
import { checkCommand } from './check.ts';
import { compareCommand, measureCommand } from './compare.ts';
import { convertCommand, ddCommand } from './convert.ts';
import { createCommand } from './create.ts';
import { FORMATS } from './images.ts';
import { infoCommand } from './info.ts';
import { mapCommand } from './map.ts';

interface Command {
  readonly usage: string;
  /** @returns the exit code */
  readonly run: (args: readonly string[]) => Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  amend: { usage: '[--image-opts] [-p] [-q] [-f fmt] [-t cache] -o options filename', run: amendCommand },
  bench: {
    usage:
      '[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-n] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename',
    run: benchCommand,
  },
  bitmap: {
    usage:
      '(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F source_fmt]] [-g granularity] [--image-opts | -f fmt] filename bitmap',
    run: bitmapCommand,
  },
  check: {
    usage: '[--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename',
    run: checkCommand,
  },
  commit: { usage: '[--image-opts] [-q] [-f fmt] [-t cache] [-d] [-p] filename', run: commitCommand },
  compare: {
    usage: '[--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 filename2',
    run: compareCommand,
  },
  convert: {
    usage:
      '[--image-opts] [--target-image-opts] [--target-is-zero] [-U] [-C] [-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] [-l snapshot_param] [-S sparse_size] [-m num_coroutines] [-W] filename [filename2 [...]] output_filename',
    run: convertCommand,
  },
  create: {
    usage: '[-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]',
    run: createCommand,
  },
  dd: {
    usage:
      '[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] if=input of=output',
    run: ddCommand,
  },
  info: { usage: '[--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename', run: infoCommand },
  map: {
    usage: '[--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename',
    run: mapCommand,
  },
  measure: {
    usage: '[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--image-opts] [-f fmt] filename]',
    run: measureCommand,
  },
  rebase: {
    usage:
      '[--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file [-F backing_fmt] filename',
    run: rebaseCommand,
  },
  resize: { usage: '[--image-opts] [-f fmt] [-q] [--shrink] filename [+ | -]size', run: resizeCommand },
  snapshot: {
    usage: '[--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename',
    run: snapshotCommand,
  },
};

function help(): string {
  const commands = Object.entries(COMMANDS).map(([name, { usage }]) => `  ${name} ${usage}\n`);
  const formats = FORMATS.map(({ name }) => name).toSorted();
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
    process.stdout.write(help());
    return 0;
  }
  if (name === '-V' || name === '--version') {
    const text = await readFile(new URL('../../../package.json', import.meta.url), 'utf8');
    process.stdout.write(`vireo-img ${(JSON.parse(text) as { version: string }).version}\n`);
    return 0;
  }
  if (!Object.hasOwn(COMMANDS, name))
    throw new UserError(`Command not found: ${name}: vireo-img --help lists the commands`);
  const { usage, run } = COMMANDS[name];
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(`usage: vireo-img ${name} ${usage}\n`);
    return 0;
  }
  return run(rest);
}

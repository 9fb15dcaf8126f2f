/** vireo-img check. */
import { UserError } from '../../base/index.ts';
import type { CheckResult, Repair } from '../../block/core.ts';
import { oneName, parseArguments, wantsJson } from './arguments.ts';
import { openOptions, withImage } from './images.ts';

/** Exit codes as qemu-img's. */
const EXIT = { clean: 0, failed: 1, corrupt: 2, leaks: 3, unsupported: 63 } as const;

export async function checkCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    f: 'value',
    r: 'value',
    q: 'flag',
    U: 'flag',
    T: 'value',
    output: 'value',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const json = wantsJson(args);
  const repair = (args.get('r') ?? 'none') as Repair;
  if (args.has('r') && repair !== 'leaks' && repair !== 'all')
    throw new UserError(`Invalid option value for -r: ${repair}: it is leaks or all`);
  const name = oneName(args);
  const options = { ...openOptions(args), writable: repair !== 'none', withoutBacking: true, forCheck: true };
  return withImage(name, options, async ({ filename, node }) => {
    if (node.check === undefined) {
      process.stderr.write('vireo-img: This image format does not support checks\n');
      return EXIT.unsupported;
    }
    const first = await node.check(repair);
    const isRepaired = first.leaksFixed + first.corruptionsFixed > 0;
    const result = isRepaired ? { ...(await node.check('none')), ...fixesOf(first) } : first;
    const messages = isRepaired ? [...first.messages, ...result.messages] : first.messages;
    if (json) process.stdout.write(`${JSON.stringify(record(filename, node.format, result), null, 4)}\n`);
    else if (!args.has('q')) {
      for (const message of messages) process.stderr.write(`${message}\n`);
      process.stdout.write((isRepaired ? repairText(first) : '') + humanText(result));
    }
    if (result.checkErrors > 0) return EXIT.failed;
    return result.corruptions > 0 ? EXIT.corrupt : result.leaks > 0 ? EXIT.leaks : EXIT.clean;
  });
}

function fixesOf({ leaksFixed, corruptionsFixed }: CheckResult) {
  return { leaksFixed, corruptionsFixed };
}

function repairText({ leaksFixed, corruptionsFixed }: CheckResult): string {
  const found = `    ${leaksFixed} leaked clusters\n    ${corruptionsFixed} corruptions\n`;
  return `The following inconsistencies were found and repaired:\n\n${found}\nDouble checking the fixed image now...\n`;
}

/** Names as in QAPI's ImageCheck; what is 0 is left out, as QEMU does. */
function record(filename: string, format: string, result: CheckResult): Record<string, unknown> {
  const counts = {
    'image-end-offset': result.imageEndOffset,
    'total-clusters': result.totalClusters,
    corruptions: result.corruptions,
    leaks: result.leaks,
    'corruptions-fixed': result.corruptionsFixed,
    'leaks-fixed': result.leaksFixed,
    'allocated-clusters': result.allocatedClusters,
    'fragmented-clusters': result.fragmentedClusters,
    'compressed-clusters': result.compressedClusters,
  };
  const present = Object.entries(counts).filter(([, count]) => count !== 0);
  return { ...Object.fromEntries(present), 'check-errors': result.checkErrors, filename, format };
}

/** Two decimals; a tie goes to the even digit, as C's printf does it. */
function percent(part: number, whole: number): string {
  const hundredths = (part * 10_000) / whole;
  const low = Math.floor(hundredths);
  const isUp = hundredths - low > 0.5 || (hundredths - low === 0.5 && low % 2 === 1);
  return `${((low + Number(isUp)) / 100).toFixed(2)}%`;
}

function humanText(result: CheckResult): string {
  const { corruptions, leaks, checkErrors, totalClusters, allocatedClusters, imageEndOffset } = result;
  let text = '';
  if (corruptions + leaks + checkErrors === 0) text += 'No errors were found on the image.\n';
  if (corruptions > 0) {
    text += `\n${corruptions} errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n`;
  }
  if (leaks > 0) {
    text += `\n${leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n`;
  }
  if (checkErrors > 0) text += `\n${checkErrors} internal errors have occurred during the check.\n`;
  if (totalClusters > 0 && allocatedClusters > 0) {
    const fragmented = percent(result.fragmentedClusters, allocatedClusters);
    const compressed = percent(result.compressedClusters, allocatedClusters);
    const allocated = `${allocatedClusters}/${totalClusters} = ${percent(allocatedClusters, totalClusters)} allocated`;
    text += `${allocated}, ${fragmented} fragmented, ${compressed} compressed clusters\n`;
  }
  return imageEndOffset > 0 ? `${text}Image end offset: ${imageEndOffset}\n` : text;
}

/** The table: medians, their ratios and those of the fastest runs, and peaks of memory. */
import { median } from '../report.ts';

export type Side = 'vireo' | 'qemu';

export interface CaseResult {
  readonly name: string;
  /** Each run's time. */
  readonly seconds: { [side in Side]?: number[] };
  readonly peakBytes: { [side in Side]?: number[] };
  readonly skipped?: string;
  /** Why the case could not be measured to its end. */
  readonly fault?: string;
}

const TARGET_RATIO = 1;
const TARGET_PEAK_BYTES = 200 * 2 ** 20;
const NAME_WIDTH = 22;
const CELL_WIDTH = 10;

export function renderTable(results: readonly CaseResult[]): string {
  const heading = row('', ['vireo', 'qemu', 'ratio', 'best', 'vireo MiB', 'qemu MiB', 'target']);
  return `${[heading, ...results.map(renderCase)].join('\n')}\n`;
}

function renderCase({ name, seconds, peakBytes, skipped, fault }: CaseResult): string {
  if (fault !== undefined) return `${name.padEnd(NAME_WIDTH)}  failed: ${fault}`;
  if (skipped !== undefined) return `${name.padEnd(NAME_WIDTH)}  skipped: ${skipped}`;
  const [ours, theirs] = [median(seconds.vireo ?? []), median(seconds.qemu ?? [])];
  const ratio = ours === undefined || theirs === undefined ? undefined : theirs / ours;
  const [ourPeak, theirPeak] = [peak(peakBytes.vireo), peak(peakBytes.qemu)];
  const misses = [
    ...(ratio !== undefined && ratio < TARGET_RATIO ? ['slower'] : []),
    ...(ourPeak !== undefined && ourPeak > TARGET_PEAK_BYTES ? ['memory'] : []),
  ];
  return row(name, [
    secondsText(ours),
    secondsText(theirs),
    ratio?.toFixed(2) ?? '-',
    bestRatio(seconds)?.toFixed(2) ?? '-',
    mebibytesText(ourPeak),
    mebibytesText(theirPeak),
    misses.length === 0 ? 'met' : misses.join(', '),
  ]);
}

/** Of the fastest runs: what is left when the machine does nothing else. */
function bestRatio({ vireo, qemu }: CaseResult['seconds']): number | undefined {
  return vireo === undefined || qemu === undefined ? undefined : Math.min(...qemu) / Math.min(...vireo);
}

function row(name: string, cells: readonly string[]): string {
  return `${name.padEnd(NAME_WIDTH)}${cells.map((cell) => ` ${cell.padStart(CELL_WIDTH)}`).join('')}`;
}

function peak(values: readonly number[] | undefined): number | undefined {
  return values === undefined ? undefined : Math.max(...values);
}

function secondsText(seconds: number | undefined): string {
  return seconds === undefined ? '-' : `${seconds.toFixed(3)} s`;
}

function mebibytesText(bytes: number | undefined): string {
  return bytes === undefined ? '-' : (bytes / 2 ** 20).toFixed(0);
}

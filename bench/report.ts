/** The table: medians, ratios, geometric means, and what is aimed at. */
import type { EmulatorName } from './emulators.ts';
import { BOOT, FOOTPRINT, GROUPS, IDLE, V86_TARGET } from './groups.ts';
import type { Measurements, Values } from './measure.ts';

/** One line of the table. */
export interface Row {
  readonly group: string;
  readonly name: string;
  readonly unit: 's' | '%' | 'MiB';
  /** Median over the runs. */
  readonly vireo?: number;
  readonly qemu?: number;
  readonly v86?: number;
  /** QEMU's time over Vireo's; only times have one. */
  readonly ratio?: number;
  /** v86's time over Vireo's. */
  readonly v86Ratio?: number;
  /** Each run's value. */
  readonly values: Values;
}

/** A group's rows and what they come to. */
export interface GroupSummary {
  readonly name: string;
  /** In words, e.g. `target 1.5, none below 0.8`. */
  readonly target: string;
  readonly rows: readonly Row[];
  /** Of the ratios; undefined for groups that are no times, and without QEMU. */
  readonly geometricMean?: number;
  /** Whether the target is met; undefined when a part of the group was not measured. */
  readonly met?: boolean;
  /** As `geometricMean`, of what v86 ran. */
  readonly v86Mean?: number;
}

export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined ? undefined : (low + high) / 2;
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** The groups of which something was measured, in the order of the table. */
export function summarize({ rows }: Pick<Measurements, 'rows'>): GroupSummary[] {
  const row = (group: string, name: string, unit: Row['unit']): Row => {
    const values = rows.get(name) ?? {};
    const [vireo, qemu, v86] = (['vireo', 'qemu', 'v86'] as const).map((emulator) => median(values[emulator] ?? []));
    const over = (other?: number) =>
      unit === 's' && vireo !== undefined && other !== undefined ? other / vireo : undefined;
    return { group, name, unit, vireo, qemu, v86, ratio: over(qemu), v86Ratio: over(v86), values };
  };
  const summaries = [
    timed(
      BOOT.name,
      BOOT.rows.map((name) => row(BOOT.name, name, 's')),
      BOOT,
    ),
    ...GROUPS.map((group) =>
      timed(
        group.name,
        group.kernels.map(({ name }) => row(group.name, name, 's')),
        group,
      ),
    ),
    limited(row(IDLE.name, IDLE.row, '%'), IDLE.targetPercent),
    limited(row(FOOTPRINT.name, FOOTPRINT.row, 'MiB'), FOOTPRINT.targetMebibytes),
  ];
  return summaries.filter((summary) => summary.rows.length > 0);
}

interface RatioTarget {
  readonly target: number;
  readonly eachTarget?: number;
}

function timed(name: string, allRows: readonly Row[], { target, eachTarget = 0 }: RatioTarget): GroupSummary {
  const rows = allRows.filter(isMeasured);
  const ratios = rows.flatMap(({ ratio }) => (ratio === undefined ? [] : [ratio]));
  const v86Ratios = rows.flatMap(({ v86Ratio }) => (v86Ratio === undefined ? [] : [v86Ratio]));
  const mean = ratios.length === 0 ? undefined : geometricMean(ratios);
  const isWhole = ratios.length === allRows.length;
  return {
    name,
    target: `target ${target}${eachTarget === 0 ? '' : `, none below ${eachTarget}`}`,
    rows,
    geometricMean: mean,
    v86Mean: v86Ratios.length === 0 ? undefined : geometricMean(v86Ratios),
    met: isWhole && mean !== undefined ? mean >= target && Math.min(...ratios) >= eachTarget : undefined,
  };
}

function limited(row: Row, limit: number): GroupSummary {
  return {
    name: row.group,
    target: `target below ${limit} ${row.unit}`,
    rows: [row].filter(isMeasured),
    met: row.vireo === undefined ? undefined : row.vireo < limit,
  };
}

function isMeasured({ vireo, qemu, v86 }: Row): boolean {
  return vireo !== undefined || qemu !== undefined || v86 !== undefined;
}

const NAME_WIDTH = 18;
const FIGURE_WIDTH = 12;

export function renderTable(summaries: readonly GroupSummary[]): string {
  const withV86 = summaries.some(({ rows }) => rows.some(({ v86 }) => v86 !== undefined));
  const names = ['vireo', 'qemu', 'ratio', ...(withV86 ? ['v86', 'ratio'] : [])];
  const header = `${''.padEnd(NAME_WIDTH)}${names.map((name) => name.padStart(FIGURE_WIDTH)).join('')}`;
  const lines = summaries.flatMap((summary) => renderGroup(summary, withV86));
  return `${[header, ...lines].join('\n')}\n`;
}

function renderGroup(summary: GroupSummary, withV86: boolean): string[] {
  const { name, target, rows, geometricMean: mean, v86Mean, met } = summary;
  const verdict = met === undefined ? '' : met ? ': met' : ': not met';
  const lines = rows.map((row) =>
    renderRow(row.name, [
      ...[figure(row, 'vireo'), figure(row, 'qemu'), row.ratio?.toFixed(2) ?? ''],
      ...(withV86 ? [figure(row, 'v86'), row.v86Ratio?.toFixed(2) ?? ''] : []),
    ]),
  );
  const means = ['', '', mean?.toFixed(2) ?? '', '', v86Mean?.toFixed(2) ?? ''];
  const hasMean = rows.length > 1 && (mean !== undefined || v86Mean !== undefined);
  const meanLine = hasMean ? [renderRow('geometric mean', means)] : [];
  const v86Verdict =
    v86Mean === undefined ? '' : `; v86: target ${V86_TARGET}, ${v86Mean >= V86_TARGET ? 'met' : 'not met'}`;
  return [`${name} (${target}${verdict}${v86Verdict})`, ...lines, ...meanLine];
}

function renderRow(name: string, figures: readonly string[]): string {
  return `  ${name.padEnd(NAME_WIDTH - 2)}${figures.map((text) => text.padStart(FIGURE_WIDTH)).join('')}`.trimEnd();
}

function figure({ unit, ...row }: Row, name: EmulatorName): string {
  const value = row[name];
  if (value === undefined) return '-';
  return `${value.toFixed(unit === 's' ? 3 : unit === '%' ? 1 : 0)} ${unit}`;
}

/** The table: medians, ratios, geometric means, and what is aimed at. */
import type { EmulatorName } from './emulators.ts';
import { BOOT, FOOTPRINT, GROUPS, IDLE } from './groups.ts';
import type { Measurements, Values } from './measure.ts';

/** One line of the table. */
export interface Row {
  readonly group: string;
  readonly name: string;
  readonly unit: 's' | '%' | 'MiB';
  /** Median over the runs. */
  readonly vireo?: number;
  readonly qemu?: number;
  /** QEMU's time over Vireo's; only times have one. */
  readonly ratio?: number;
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
    const [vireo, qemu] = (['vireo', 'qemu'] as const).map((emulator) => median(values[emulator] ?? []));
    const ratio = unit === 's' && vireo !== undefined && qemu !== undefined ? qemu / vireo : undefined;
    return { group, name, unit, vireo, qemu, ratio, values };
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
  const mean = ratios.length === 0 ? undefined : geometricMean(ratios);
  const isWhole = ratios.length === allRows.length;
  return {
    name,
    target: `target ${target}${eachTarget === 0 ? '' : `, none below ${eachTarget}`}`,
    rows,
    geometricMean: mean,
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

function isMeasured({ vireo, qemu }: Row): boolean {
  return vireo !== undefined || qemu !== undefined;
}

const NAME_WIDTH = 18;
const FIGURE_WIDTH = 12;

export function renderTable(summaries: readonly GroupSummary[]): string {
  const header = `${''.padEnd(NAME_WIDTH)}${['vireo', 'qemu', 'ratio'].map((name) => name.padStart(FIGURE_WIDTH)).join('')}`;
  return `${[header, ...summaries.flatMap(renderGroup)].join('\n')}\n`;
}

function renderGroup({ name, target, rows, geometricMean: mean, met }: GroupSummary): string[] {
  const verdict = met === undefined ? '' : met ? ': met' : ': not met';
  const lines = rows.map((row) =>
    renderRow(row.name, [figure(row, 'vireo'), figure(row, 'qemu'), row.ratio?.toFixed(2) ?? '']),
  );
  const meanLine =
    mean === undefined || rows.length < 2 ? [] : [renderRow('geometric mean', ['', '', mean.toFixed(2)])];
  return [`${name} (${target}${verdict})`, ...lines, ...meanLine];
}

function renderRow(name: string, figures: readonly string[]): string {
  return `  ${name.padEnd(NAME_WIDTH - 2)}${figures.map((text) => text.padStart(FIGURE_WIDTH)).join('')}`.trimEnd();
}

function figure({ unit, ...row }: Row, name: EmulatorName): string {
  const value = row[name];
  if (value === undefined) return '-';
  return `${value.toFixed(unit === 's' ? 3 : unit === '%' ? 1 : 0)} ${unit}`;
}

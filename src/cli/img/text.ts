/** How qemu-img writes sizes, dates and tables for people. */
import type { SnapshotInfo } from '../../block/core.ts';

const UNITS = ['', 'K', 'M', 'G', 'T', 'P', 'E'];

/** Three digits at most and a binary unit, e.g. `1.5 MiB`; the next unit begins at 1000. */
export function sizeText(bytes: number): string {
  let index = 0;
  while (index < UNITS.length - 1 && bytes / 1024 ** index >= 1000) index += 1;
  const value = Number((bytes / 1024 ** index).toPrecision(3));
  return `${value} ${UNITS[index]}${index === 0 ? '' : 'i'}B`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

function dateText(seconds: number): string {
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function clockText(nanos: number): string {
  const millis = Math.floor(nanos / 1e6);
  const seconds = Math.floor(millis / 1000);
  const hours = two(Math.floor(seconds / 3600));
  return `${hours}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}.${String(millis % 1000).padStart(3, '0')}`;
}

/** The table of internal snapshots. */
export function snapshotTable(snapshots: readonly SnapshotInfo[]): string {
  const row = (cells: readonly string[]) => {
    const [id, tag, size, date, clock, count] = cells;
    const left = `${id.padEnd(9)} ${tag.padEnd(16)} `;
    return `${left}${size.padStart(8)}${date.padStart(20)}${clock.padStart(13)}${count.padStart(11)}\n`.trimEnd();
  };
  const lines = snapshots.map((snapshot) =>
    row([
      snapshot.id,
      snapshot.name,
      sizeText(snapshot.vmStateBytes),
      dateText(snapshot.dateSeconds),
      clockText(snapshot.vmClockNanos),
      snapshot.instructionCount === undefined ? '' : String(snapshot.instructionCount),
    ]),
  );
  const heading = `ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT`;
  return [heading, ...lines].map((line) => `${line}\n`).join('');
}

/** The lines of "Format specific information", nested as QEMU does it. */
export function specificText(data: Readonly<Record<string, unknown>>, depth = 1): string {
  const indent = '    '.repeat(depth);
  return Object.entries(data)
    .map(([key, value]) => entryText(indent, key.replaceAll('-', ' '), value, depth))
    .join('');
}

function entryText(indent: string, label: string, value: unknown, depth: number): string {
  if (Array.isArray(value)) {
    const items = value.map((item, i) => entryText(`${indent}    `, `[${i}]`, item, depth + 1)).join('');
    return `${indent}${label}:\n${items}`;
  }
  if (typeof value === 'object' && value !== null) {
    return `${indent}${label}:\n${specificText(value as Record<string, unknown>, depth + 1)}`;
  }
  return `${indent}${label}: ${String(value)}\n`;
}

/** Progress as qemu-img's -p prints it; silent unless `enabled`. */
export function progressBar(enabled: boolean): { report(fraction: number): void; end(): void } {
  let last = -1;
  const print = (percent: number) => process.stdout.write(`    (${percent.toFixed(2)}/100%)\r`);
  return {
    report(fraction) {
      const percent = fraction * 100;
      if (!enabled || (percent - last < 1 && percent < 100)) return;
      last = percent;
      print(percent);
    },
    end() {
      if (!enabled) return;
      print(100);
      process.stdout.write('\n');
    },
  };
}

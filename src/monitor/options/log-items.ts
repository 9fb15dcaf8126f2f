/** What -d logs. */
import { UserError } from '../../base/index.ts';

export const LOG_ITEMS = {
  cpu_reset: 'each reset of the machine, and who asked for it',
} as const;
export type LogItem = keyof typeof LOG_ITEMS;

/** @throws UserError for an item that is not logged here */
export function readLogItems(text: string): LogItem[] {
  return text.split(',').map((name) => {
    if (Object.hasOwn(LOG_ITEMS, name)) return name as LogItem;
    throw new UserError(`'${name}' is not logged; there is ${Object.keys(LOG_ITEMS).join(', ')}`);
  });
}

export function logHelp(): string {
  const rows = Object.entries(LOG_ITEMS).map(([name, help]) => `${name.padEnd(15)} ${help}\n`);
  return `Log items (comma separated):\n${rows.join('')}`;
}

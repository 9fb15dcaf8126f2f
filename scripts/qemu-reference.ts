/** Writes docs/qemu-reference.md from the monitor's tables. */
import { writeFileSync } from 'node:fs';
import { referencePage, schema } from '../src/monitor/index.ts';

writeFileSync(new URL('../docs/qemu-reference.md', import.meta.url), referencePage(schema));

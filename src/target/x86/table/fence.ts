/** Fences, cache control and prefetches: this CPU has no cache and keeps program order, so they only fault. */
import type { Semantics } from '../builder.ts';
import { type Row, row } from './row.ts';

const nothing: Semantics = () => {};
/** Flushing a line is checked like a load of a byte. */
const touch: Semantics = (b) => {
  b.load(b.address(0, 1), 1);
};

export const fenceRows: readonly Row[] = [
  row('LFENCE', 'NP 0F AE =E8+i', '', nothing, { cpuid: 'sse2' }),
  row('MFENCE', 'NP 0F AE =F0+i', '', nothing, { cpuid: 'sse2' }),
  row('SFENCE', 'NP 0F AE =F8+i', '', nothing, { cpuid: 'sse' }),
  row('CLFLUSH', 'NP 0F AE /7', 'Mb', touch, { cpuid: 'clflush' }),
  row('CLFLUSHOPT', '66 0F AE /7', 'Mb', touch, { cpuid: 'clflushopt' }),
  row('CLWB', '66 0F AE /6', 'Mb', touch, { cpuid: 'clwb' }),
];

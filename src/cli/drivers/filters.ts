/** Filters as drivers: `driver=throttle,bps-total=1M,file.driver=…`. */
import { copyOnReadFilter, type ThrottleKind, type ThrottleLimit, throttleFilter } from '../../block/index.ts';
import { systemClock } from '../../host/node/index.ts';
import { parseBytes } from '../img/arguments.ts';
import { take } from './options.ts';
import type { Filter } from './registry.ts';

type FilterDriver = Omit<Filter, 'name'>;

const KINDS: readonly ThrottleKind[] = ['bps-total', 'bps-read', 'bps-write', 'iops-total', 'iops-read', 'iops-write'];

const throttle: FilterDriver = {
  open(child, options) {
    const limits: Partial<Record<ThrottleKind, ThrottleLimit>> = {};
    for (const kind of KINDS) {
      const [text, burst] = [take(options, kind), take(options, `${kind}-max`)];
      if (text === undefined) continue;
      const perSecond = parseBytes(text, kind);
      limits[kind] = { perSecond, ...(burst === undefined ? {} : { burst: parseBytes(burst, `${kind}-max`) }) };
    }
    return throttleFilter(child, { clock: systemClock(), limits });
  },
};

const copyOnRead: FilterDriver = { open: (child) => copyOnReadFilter(child) };

export const FILTER_DRIVERS = { throttle, 'copy-on-read': copyOnRead } as const;

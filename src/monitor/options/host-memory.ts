/** How the host keeps the guest's memory: properties of `-object memory-backend-*`, `-machine mem-merge`, `-overcommit mem-lock`. */
import type { RamOptions } from '../../machine/index.ts';
import type { ObjectConfig } from './config.ts';

export interface HostMemoryWishes {
  /** The object that `-machine memory-backend=` names. */
  readonly backend: ObjectConfig | undefined;
  readonly memMerge: boolean | undefined;
  readonly memLock: boolean | undefined;
}

/** Only what was asked for; undefined when nothing was. */
export function readHostMemory({ backend, memMerge, memLock }: HostMemoryWishes): RamOptions | undefined {
  const { type, properties = {} } = backend ?? {};
  const isOn = (name: string): boolean | undefined => {
    const value = properties[name];
    return typeof value === 'boolean' ? value : undefined;
  };
  const merge = isOn('merge') ?? memMerge;
  const hugePages = isOn('hugetlb') === true || String(properties['mem-path'] ?? '').startsWith('/dev/hugepages');
  const backing = hugePages ? 'hugepages' : type === 'memory-backend-memfd' ? 'memfd' : undefined;
  const preallocate = isOn('prealloc');
  const ram: RamOptions = {
    ...(backing === undefined ? {} : { backing }),
    ...(merge === undefined ? {} : { merge }),
    ...(preallocate === undefined ? {} : { preallocate }),
    ...(memLock === undefined ? {} : { lock: memLock }),
  };
  return Object.keys(ram).length === 0 ? undefined : ram;
}

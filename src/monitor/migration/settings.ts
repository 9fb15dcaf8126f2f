/** What migration was told: capabilities and parameters, by QEMU's names. */
import { DEFAULT_PARAMETERS, type MigrationParameters } from '../../migration/index.ts';
import { QmpError } from '../qmp/errors.ts';

export const CAPABILITIES = [
  'auto-converge',
  'events',
  'return-path',
  'pause-before-switchover',
  'late-block-activate',
] as const;
export type Capability = (typeof CAPABILITIES)[number];

/** Each parameter's field, and what it may be. */
export const PARAMETERS = {
  'throttle-trigger-threshold': { field: 'throttleTriggerThreshold', min: 1, max: 100 },
  'cpu-throttle-initial': { field: 'cpuThrottleInitial', min: 1, max: 99 },
  'cpu-throttle-increment': { field: 'cpuThrottleIncrement', min: 1, max: 99 },
  'max-bandwidth': { field: 'maxBandwidth', min: 0, max: Number.MAX_SAFE_INTEGER },
  'downtime-limit': { field: 'downtimeLimit', min: 0, max: 2000 * 1000 },
  'max-cpu-throttle': { field: 'maxCpuThrottle', min: 1, max: 99 },
} as const satisfies Readonly<
  Record<string, { readonly field: keyof MigrationParameters; readonly min: number; readonly max: number }>
>;
export type ParameterName = keyof typeof PARAMETERS;

export class MigrationSettings {
  readonly capabilities = new Set<Capability>();
  readonly parameters: MigrationParameters = { ...DEFAULT_PARAMETERS };

  has(capability: Capability): boolean {
    return this.capabilities.has(capability);
  }

  /** All or none. */
  setParameters(given: Partial<Record<ParameterName, number>>): void {
    const entries = Object.entries(given) as [ParameterName, number][];
    for (const [name, value] of entries) {
      const { min, max } = PARAMETERS[name];
      if (!Number.isInteger(value) || value < min || value > max)
        throw new QmpError(`Parameter '${name}' expects an integer in the range of ${min} to ${max}`);
    }
    for (const [name, value] of entries) this.parameters[PARAMETERS[name].field] = value;
  }

  get shown(): Record<ParameterName, number> {
    const rows = Object.entries(PARAMETERS).map(([name, { field }]) => [name, this.parameters[field]]);
    return Object.fromEntries(rows) as Record<ParameterName, number>;
  }
}

/** The life of a device beside its registers. */
export interface Device {
  readonly name: string;
  /** Power-up state. */
  reset(): void;
  /** The whole state as plain data (numbers, strings, booleans, arrays, byte arrays), for snapshots and debugging. */
  snapshot(): DeviceRecord;
  /** Throws a `StateError` naming the field when the record does not fit. */
  restore(record: DeviceRecord): void;
}

export type DeviceValue =
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | readonly DeviceValue[]
  | { readonly [field: string]: DeviceValue };
export type DeviceRecord = { readonly [field: string]: DeviceValue };

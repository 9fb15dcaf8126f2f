/** How SCSI tells what went wrong: SPC-4, 4.5, fixed format. */

export const SCSI_STATUS = { good: 0x00, checkCondition: 0x02 } as const;
export const SENSE_BYTES = 18;

/** Sense key, additional sense code and its qualifier. */
export type Sense = readonly [key: number, code: number, qualifier: number];

export const SENSE = {
  none: [0x0, 0x00, 0x00],
  readError: [0x3, 0x11, 0x00],
  writeError: [0x3, 0x0c, 0x00],
  unknownCommand: [0x5, 0x20, 0x00],
  outOfRange: [0x5, 0x21, 0x00],
  badField: [0x5, 0x24, 0x00],
  badParameter: [0x5, 0x26, 0x00],
  noSuchUnit: [0x5, 0x25, 0x00],
  writeProtected: [0x7, 0x27, 0x00],
} as const satisfies Record<string, Sense>;

export function senseBytes([key, code, qualifier]: Sense): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SENSE_BYTES);
  bytes.set([0x70, 0, key, 0, 0, 0, 0, SENSE_BYTES - 8]);
  bytes.set([code, qualifier], 12);
  return bytes;
}

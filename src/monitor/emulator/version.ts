/** Which QEMU this speaks like. */

const QEMU = { major: 8, minor: 2, micro: 2 } as const;

export const QEMU_VERSION_TEXT = `${QEMU.major}.${QEMU.minor}.${QEMU.micro}`;

export function versionInfo(programName: string) {
  return { qemu: { micro: QEMU.micro, minor: QEMU.minor, major: QEMU.major }, package: programName };
}

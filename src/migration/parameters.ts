/** What live migration can be told, by QEMU's names and with its defaults. */

export interface MigrationParameters {
  /** Bytes a second while the guest runs; 0: as many as there is room for. */
  maxBandwidth: number;
  /** How long the guest may stand still, in milliseconds. */
  downtimeLimit: number;
  /** How much of a vCPU's time is taken away at first, and how much more each time, in percent. */
  cpuThrottleInitial: number;
  cpuThrottleIncrement: number;
  maxCpuThrottle: number;
  /** A pass whose guest wrote this many percent of what was sent meanwhile counts as one that does not converge. */
  throttleTriggerThreshold: number;
}

export const DEFAULT_PARAMETERS: MigrationParameters = {
  maxBandwidth: 128 * 1024 * 1024,
  downtimeLimit: 300,
  cpuThrottleInitial: 20,
  cpuThrottleIncrement: 10,
  maxCpuThrottle: 99,
  throttleTriggerThreshold: 50,
};

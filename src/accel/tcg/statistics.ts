/** What the software CPU has done so far, for people who wonder where the time goes. */
import type { exit } from './emit/core-types.ts';

/** Counts since the start, of all CPUs together. (An interface would not be a record of numbers.) */
export type TcgStatistics = {
  /** Instructions decoded for the interpreter; again when their page changed. */
  readonly decodedInstructions: number;
  readonly decodedPages: number;
  /** Decoded code, and how much of it there can be. */
  readonly codeBytes: number;
  readonly codeLimitBytes: number;
  /** How often all decoded and translated code was given up because there was no room. */
  readonly codeFlushes: number;
  /** TLB misses that walked the guest's page tables. */
  readonly tlbMisses: number;
  /** WebAssembly functions there are: regions, and handlers of the interpreter. */
  readonly functions: number;
  readonly regions: number;
  /** Regions that were translated, the first time or again with what had been seen; and their instructions. */
  readonly translations: number;
  readonly retranslations: number;
  readonly translatedInstructions: number;
  /** Hot places where there was nothing that can be translated. */
  readonly refusedTranslations: number;
  /** Regions whose code had changed when they were ready. */
  readonly lateTranslations: number;
  /** Host time that translating took, without WebAssembly's own compilation in the background. */
  readonly translationMillis: number;
  /** Why generated code was left for the engine. */
  readonly exitsForSlice: number;
  readonly exitsForFault: number;
  readonly exitsForCode: number;
  readonly exitsForSystem: number;
  readonly exitsForTranslation: number;
  /** Where slices were when they ended: how much of the time is spent where. */
  readonly samplesInRegions: number;
  readonly samplesInInterpreter: number;
};

/** Counted by the vCPUs of an engine. */
export class EngineCounters {
  /** By `exit`. */
  readonly exits: Record<(typeof exit)[keyof typeof exit], number> = { 0: 0, 1: 0, 2: 0, 3: 0, 4: 0 };
  samplesInRegions = 0;
  samplesInInterpreter = 0;
}

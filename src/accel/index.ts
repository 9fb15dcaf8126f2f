/** Who executes a guest's CPUs. */

export * from './kvm/index.ts';
export { createTcg, type TcgAccelerator, type TcgOptions, type TcgStatistics } from './tcg/index.ts';

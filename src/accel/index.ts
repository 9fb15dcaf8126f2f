/** Who executes a guest's CPUs. */
export { createTcg, type TcgAccelerator, type TcgOptions } from './tcg/index.ts';
export * from './kvm/index.ts';

/** Who executes a guest's CPUs. */

export * from './kvm/index.ts';
export {
  type CompileModule,
  createTcg,
  serveRegionCompiler,
  type TcgAccelerator,
  type TcgOptions,
  type TcgStatistics,
} from './tcg/index.ts';

/** The intermediate representation that instruction semantics are written in. */
export * from './builder.ts';
export * from './expr.ts';
export * from './ops.ts';

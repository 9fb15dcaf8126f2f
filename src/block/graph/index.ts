/** The node graph of a machine, and QMP's commands on it. */
export type { DriverKind, GraphDrivers, NodeCache, NodeHow, NodeOptions } from './drivers.ts';
export { GraphError, type GraphErrorClass } from './error.ts';
export { type AttachedNode, type AttachOptions, BlockGraph, type Limits, type TellEvent } from './graph.ts';
export { flatOptions } from './node.ts';
export type { VmSnapshotRequest, VmSnapshotScope } from './vm-snapshots.ts';

/** The whole interface: every command and event, from the tables beside this file. */
import type { ArgumentsOf, DataOf, ReturnOf, Schema } from '../schema/types.ts';
import { blockCommands, blockEvents } from './block.ts';
import { blockGraphCommands } from './block-graph.ts';
import { charCommands, charEvents } from './char.ts';
import { controlCommands } from './control.ts';
import { dumpCommands } from './dump.ts';
import { machineCommands, machineEvents } from './machine.ts';
import { migrationCommands, migrationEvents } from './migration.ts';
import { miscCommands } from './misc.ts';
import { netCommands, netEvents } from './net.ts';
import { qomCommands, qomEvents } from './qom.ts';
import { runStateCommands, runStateEvents } from './run-state.ts';
import { vmSnapshotCommands } from './vm-snapshots.ts';

export const commands = {
  ...controlCommands,
  ...runStateCommands,
  ...machineCommands,
  ...dumpCommands,
  ...qomCommands,
  ...charCommands,
  ...netCommands,
  ...blockCommands,
  ...blockGraphCommands,
  ...miscCommands,
  ...migrationCommands,
  ...vmSnapshotCommands,
} as const;

export const events = {
  ...runStateEvents,
  ...machineEvents,
  ...qomEvents,
  ...charEvents,
  ...netEvents,
  ...blockEvents,
  ...migrationEvents,
} as const;

export const schema = { commands, events } as const satisfies Schema;

export type CommandName = keyof typeof commands;
export type EventName = keyof typeof events;
export type CommandArguments<Name extends CommandName> = ArgumentsOf<(typeof commands)[Name]>;
export type CommandReturn<Name extends CommandName> = ReturnOf<(typeof commands)[Name]>;
export type EventData<Name extends EventName> = DataOf<(typeof events)[Name]>;

/** Every command's handler, by name. */
import type { Emulator } from '../emulator/emulator.ts';
import type { CommandArguments, CommandName, CommandReturn } from '../qapi/index.ts';
import type { QmpSession } from '../qmp/session.ts';
import { blockHandlers } from './block.ts';
import { charHandlers } from './char.ts';
import { controlHandlers } from './control.ts';
import { dumpHandlers } from './dump.ts';
import type { Handlers } from './handler.ts';
import { machineHandlers } from './machine.ts';
import { migrationHandlers } from './migration.ts';
import { miscHandlers } from './misc.ts';
import { netHandlers } from './net.ts';
import { qomHandlers } from './qom.ts';
import { runStateHandlers } from './run-state.ts';
import { vmSnapshotHandlers } from './vm-snapshots.ts';

const handlers: Handlers = {
  ...controlHandlers,
  ...runStateHandlers,
  ...machineHandlers,
  ...dumpHandlers,
  ...qomHandlers,
  ...charHandlers,
  ...netHandlers,
  ...blockHandlers,
  ...miscHandlers,
  ...migrationHandlers,
  ...vmSnapshotHandlers,
};

/** Runs a command whose arguments fit its schema; rejects with a QmpError or UserError when it fails. */
export async function execute<Name extends CommandName>(
  emulator: Emulator,
  name: Name,
  args: CommandArguments<Name>,
  session?: QmpSession,
): Promise<CommandReturn<Name>> {
  return handlers[name](emulator, args, session);
}

/** The same for a name from outside. */
export function runCommand(
  emulator: Emulator,
  name: string,
  args: Readonly<Record<string, unknown>>,
  session?: QmpSession,
): Promise<unknown> {
  return execute(emulator, name as CommandName, args as never, session);
}

/** What a command's handler is, by the schema. */
import type { Emulator } from '../emulator/emulator.ts';
import type { CommandArguments, CommandName, CommandReturn } from '../qapi/index.ts';
import type { QmpSession } from '../qmp/session.ts';

/** @param session The QMP connection; undefined when a line of the human monitor runs the command. */
export type Handler<Name extends CommandName> = (
  emulator: Emulator,
  args: CommandArguments<Name>,
  session: QmpSession | undefined,
) => CommandReturn<Name> | Promise<CommandReturn<Name>>;

export type Handlers<Names extends CommandName = CommandName> = { readonly [Name in Names]: Handler<Name> };

/** The reply of commands that have nothing to say. */
export const DONE: Readonly<Record<never, never>> = {};

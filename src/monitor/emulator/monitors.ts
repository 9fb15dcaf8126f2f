/** Puts monitors on character devices. */
import { runCommand } from '../commands/index.ts';
import { GdbStub } from '../gdb/stub.ts';
import { HmpSession } from '../hmp/session.ts';
import type { MonitorConfig } from '../options/config.ts';
import { schema } from '../qapi/index.ts';
import { QmpSession } from '../qmp/session.ts';
import type { Emulator } from './emulator.ts';
import { versionInfo } from './version.ts';

export function addMonitor(emulator: Emulator, { chardev, mode, pretty }: MonitorConfig): void {
  if (mode === 'control') addQmp(emulator, chardev, pretty);
  else addHmp(emulator, chardev);
}

function addQmp(emulator: Emulator, id: string, pretty: boolean): void {
  const encoder = new TextEncoder();
  const line = emulator.chardev(id).attach({
    opened: () => session.open(),
    closed: () => session.close(),
    drained: () => session.drained(),
    data: (bytes) => session.receive(bytes),
  });
  const session = new QmpSession(
    {
      write: (text) => line.write(encoder.encode(text)),
      get waitingBytes() {
        return line.waitingBytes;
      },
      pause: () => line.pause(),
      resume: () => line.resume(),
    },
    {
      commands: schema.commands,
      pretty,
      version: versionInfo(emulator.host.programName),
      run: (name, args, own) => runCommand(emulator, name, args, own),
      inTurn: (work) => emulator.inTurn(work),
      onInternalError: (error) => emulator.reportBug(error),
    },
  );
  emulator.sessions.add(session);
  if (line.isOpen) session.open();
}

function addHmp(emulator: Emulator, id: string): void {
  const encoder = new TextEncoder();
  const line = emulator.chardev(id).attach({
    opened: () => session.open(),
    closed: () => session.close(),
    data: (bytes) => session.receive(bytes),
  });
  const session = new HmpSession(emulator, (text) => line.write(encoder.encode(text)));
  if (line.isOpen) session.open();
}

/** Lets gdb connect to a character device. */
export function addGdbStub(emulator: Emulator, id: string): void {
  const line = emulator.chardev(id).attach({
    opened: () => stub.open(),
    closed: () => stub.close(),
    data: (bytes) => stub.receive(bytes),
  });
  const stub = new GdbStub(emulator, line);
  if (line.isOpen) stub.open();
}

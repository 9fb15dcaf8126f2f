/** Runs one emulator to its end. */
import { rmSync, writeFileSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import type { ThreadHost } from '../../contract/index.ts';
import { addGdbStub, addMonitor, Emulator, joinSerial, type SystemConfig } from '../../monitor/index.ts';
import { daemonIsReady } from './daemon.ts';
import { emulatorHost } from './host.ts';
import { chooseAccelerator, createSystemMachine } from './machine.ts';
import { reporter } from './report.ts';
import { runAs } from './run-as.ts';

/** @returns the exit code @throws UserError when something could not be opened */
export async function runEmulator(config: SystemConfig, threads?: ThreadHost): Promise<number> {
  const report = reporter(config.timestamps, config.logFile);
  for (const warning of config.warnings) report.warning(warning);
  const accelerator = await chooseAccelerator(config, report);
  const machine = await createSystemMachine(config, accelerator, threads);
  const emulator = new Emulator(config, await emulatorHost(report), machine, accelerator);
  const release = holdProcess(emulator);
  try {
    await using _pidFile = pidFile(config.pidFile);
    // Without a machine nobody else would open what the command line names.
    if (machine === undefined && config.blockNodes.length > 0) await emulator.blockCommand('query-node-tree', {});
    const lines = await openLines(emulator);
    if (config.runAs !== undefined) runAs(config.runAs);
    if (config.daemonize) daemonIsReady();
    if (config.loadVm !== undefined) await emulator.loadVm(config.loadVm);
    if (config.incoming !== undefined) await emulator.migration.listen(config.incoming, !config.startPaused);
    else if (!config.startPaused) await emulator.cont();
    const { exitCode, message } = await emulator.ended;
    await machine?.stop();
    await Promise.all(lines);
    await emulator.close();
    if (message !== undefined) report.error(message);
    return exitCode;
  } finally {
    release();
    await machine?.stop();
  }
}

/** Opens every character device, and puts monitors and serial ports on them. */
async function openLines(emulator: Emulator): Promise<Promise<void>[]> {
  const { config, machine } = emulator;
  for (const chardev of config.chardevs) {
    const { id, backend } = await emulator.addChardev(chardev);
    if (backend.label.startsWith('pty:')) {
      process.stdout.write(`char device redirected to ${backend.label.slice('pty:'.length)} (label ${id})\n`);
    }
  }
  const serial = config.serial.flatMap((id, index) => {
    return id === undefined || machine === undefined ? [] : [joinSerial(machine.serial[index], emulator.chardev(id))];
  });
  for (const [index, { chardev }] of config.consolePorts.entries()) {
    const port = machine?.consolePorts[index];
    if (chardev !== undefined && port !== undefined) serial.push(joinSerial(port, emulator.chardev(chardev)));
  }
  for (const monitor of config.monitors) addMonitor(emulator, monitor);
  if (config.gdb !== undefined) addGdbStub(emulator, config.gdb);
  return serial;
}

/** Signals end the emulator in order; it lives even when nothing of it waits for anything. */
function holdProcess(emulator: Emulator): () => void {
  const onSignal = () => void emulator.quit('host-signal');
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  const alive = setInterval(() => {}, 1_000_000);
  return () => {
    for (const signal of signals) process.off(signal, onSignal);
    clearInterval(alive);
  };
}

/** Written now, removed at the end. */
function pidFile(path: string | undefined): AsyncDisposable {
  if (path !== undefined) {
    try {
      writeFileSync(path, `${process.pid}\n`, { mode: 0o600 });
    } catch (error) {
      throw new UserError(`-pidfile ${path}: cannot create PID file: ${(error as Error).message}`);
    }
  }
  return {
    async [Symbol.asyncDispose]() {
      if (path !== undefined) rmSync(path, { force: true });
    },
  };
}

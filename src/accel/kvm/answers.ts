/** What a vCPU asks for in its run page, and the answers of devices there. */
import { InternalError } from '../../base/index.ts';
import type { AccessSize, Bus, VcpuThreadsEvent } from '../../contract/index.ts';
import { describeExit, EXIT } from './exits.ts';
import { exitHypercall, exitIo, exitMmio, exitMsr, RUN_DATA, runHead } from './structures.ts';
import type { KvmVcpu } from './vcpu.ts';

export interface AnswersOptions {
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly isPvm: boolean;
  /** The end of an interrupt that an I/O APIC outside the kernel sent. */
  onEoi(vector: number): void;
  /** HLT of a CPU whose local APIC is not the kernel's. */
  onHalt(): void;
  /** A vCPU came out for its debugger: false when it goes on. */
  stopsForDebugger(vcpu: KvmVcpu): boolean;
}

/** What a hypercall that nobody knows returns, negated. */
const KVM_ENOSYS = 1000n;
const { exitReason } = runHead.offsets;

/** @returns answers one exit; gives what the machine must know of it */
export function createAnswers(options: AnswersOptions): (vcpu: KvmVcpu) => VcpuThreadsEvent | undefined {
  const { mmio, ports, isPvm, onEoi, onHalt, stopsForDebugger } = options;
  return (vcpu) => {
    const { runView, id: cpu } = vcpu;
    switch (runView.getUint32(exitReason, true)) {
      case EXIT.io:
        answerIo(ports, runView);
        return undefined;
      case EXIT.mmio:
        answerMmio(mmio, runView);
        return undefined;
      case EXIT.shutdown:
        return { kind: 'shutdown', cpu, reason: 'triple fault' };
      case EXIT.debug:
        return stopsForDebugger(vcpu) ? { kind: 'debug', cpu } : undefined;
      case EXIT.intr:
      case EXIT.irqWindowOpen:
      case EXIT.busLock:
      case EXIT.notify:
        return undefined;
      case EXIT.rdmsr:
      case EXIT.wrmsr: // no device has it: #GP
        runView.setUint8(RUN_DATA + exitMsr.offsets.error, 1);
        return undefined;
      case EXIT.hypercall:
        runView.setBigInt64(RUN_DATA + exitHypercall.offsets.ret, -KVM_ENOSYS, true);
        return undefined;
      case EXIT.ioapicEoi:
        onEoi(runView.getUint8(RUN_DATA));
        return undefined;
      case EXIT.hlt:
        onHalt();
        return undefined;
      case EXIT.internalError:
        // Where INT3 itself cannot be executed, the debugger's is a breakpoint all the same.
        if (stopsForDebugger(vcpu)) return { kind: 'debug', cpu };
        return { kind: 'failure', cpu, message: describeExit(vcpu.run, isPvm) };
      default:
        return { kind: 'failure', cpu, message: describeExit(vcpu.run, isPvm) };
    }
  };
}

/** A port, `count` times for string instructions. */
function answerIo(ports: Bus, runView: DataView): void {
  const isOut = runView.getUint8(RUN_DATA + exitIo.offsets.direction) === 1;
  const size = runView.getUint8(RUN_DATA + exitIo.offsets.size) as AccessSize;
  const port = runView.getUint16(RUN_DATA + exitIo.offsets.port, true);
  const count = runView.getUint32(RUN_DATA + exitIo.offsets.count, true);
  let at = runView.getUint32(RUN_DATA + exitIo.offsets.dataOffset, true);
  for (let i = 0; i < count; i++, at += size) {
    if (isOut) ports.write(port, size, getValue(runView, at, size));
    else setValue(runView, at, size, ports.read(port, size));
  }
}

function answerMmio(mmio: Bus, runView: DataView): void {
  const address = runView.getUint32(RUN_DATA, true) + runView.getUint32(RUN_DATA + 4, true) * 0x1_0000_0000;
  const length = runView.getUint32(RUN_DATA + exitMmio.offsets.length, true);
  const isWrite = runView.getUint8(RUN_DATA + exitMmio.offsets.isWrite) !== 0;
  // 8 bytes are two accesses, and odd lengths (of split accesses) are bytes.
  const step = length === 8 ? 4 : length === 1 || length === 2 || length === 4 ? length : 1;
  for (let done = 0; done < Math.min(length, 8); done += step) {
    const at = RUN_DATA + exitMmio.offsets.data + done;
    if (isWrite) mmio.write(address + done, step as AccessSize, getValue(runView, at, step));
    else setValue(runView, at, step, mmio.read(address + done, step as AccessSize));
  }
}

function getValue(view: DataView, at: number, size: number): number {
  if (size === 1) return view.getUint8(at);
  if (size === 2) return view.getUint16(at, true);
  if (size === 4) return view.getUint32(at, true);
  throw new InternalError(`KVM: an access of ${size} bytes`);
}

function setValue(view: DataView, at: number, size: number, value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}

/** GDB's remote serial protocol: what a gdb that connects can ask of the machine. */
import { UserError } from '../../base/index.ts';
import type { X86CpuRecord } from '../../target/index.ts';
import type { CharLine } from '../chardev/chardev.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { runLine } from '../hmp/run.ts';
import { DebuggedMemory } from './memory.ts';
import { bytesOfHex, GdbDecoder, hexOf, PACKET_MAX, packet } from './packets.ts';
import { type CpuDraft, REGISTERS, readRegister, targetDescription, writeRegister } from './registers.ts';

/** Signals as gdb numbers them. */
const SIGNAL = { interrupt: 2, trap: 5 } as const;
const OK = 'OK';
const UNSUPPORTED = '';
const ERROR = 'E01';
const READ_MAX_BYTES = (PACKET_MAX - 16) / 2;
/** Packets that may wait; a gdb that does not wait for answers loses its connection's order, not our memory. */
const WAITING_MAX = 64;

export class GdbStub {
  readonly #emulator: Emulator;
  readonly #line: Pick<CharLine, 'write'>;
  readonly #memory: DebuggedMemory;
  #decoder = new GdbDecoder();
  #acknowledges = true;
  #last: Uint8Array = new Uint8Array();
  /** gdb waits to be told that the guest stands still. */
  #awaitsStop = false;
  #wasInterrupted = false;
  #work: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(emulator: Emulator, line: Pick<CharLine, 'write'>) {
    this.#emulator = emulator;
    this.#line = line;
    this.#memory = new DebuggedMemory(emulator.machine!);
    emulator.onStandstill(() => this.#stopped());
  }

  /** gdb connected: the guest stands still for it. */
  open(): void {
    this.#decoder = new GdbDecoder();
    this.#acknowledges = true;
    this.#awaitsStop = false;
    void this.#emulator.stop();
  }

  /** gdb went without saying so: the guest stays as it is, without its breakpoints. */
  close(): void {
    this.#awaitsStop = false;
    this.#then(() => this.#memory.removeAll());
  }

  receive(bytes: Uint8Array): void {
    for (const input of this.#decoder.feed(bytes)) {
      if (input.kind === 'interrupt') {
        this.#wasInterrupted = true;
        void this.#emulator.stop();
      } else if (input.kind === 'resend') this.#line.write(this.#last);
      else if (input.kind === 'damaged') this.#acknowledge('-');
      else {
        this.#acknowledge('+');
        this.#then(async () => {
          const reply = await this.#answer(input.data);
          if (reply !== undefined) this.#send(reply);
        });
      }
    }
  }

  #then(work: () => Promise<void>): void {
    if (this.#waiting >= WAITING_MAX) return;
    this.#waiting += 1;
    this.#work = this.#work.then(async () => {
      this.#waiting -= 1;
      try {
        await work();
      } catch (error) {
        if (!(error instanceof UserError)) this.#emulator.reportBug(error);
        this.#send(ERROR);
      }
    });
  }

  #acknowledge(sign: '+' | '-'): void {
    if (this.#acknowledges) this.#line.write(Uint8Array.of(sign.charCodeAt(0)));
  }

  #send(data: string): void {
    this.#last = packet(data);
    this.#line.write(this.#last);
  }

  #stopped(): void {
    if (!this.#awaitsStop) return;
    this.#awaitsStop = false;
    const signal = this.#wasInterrupted ? SIGNAL.interrupt : SIGNAL.trap;
    this.#wasInterrupted = false;
    this.#send(stopReply(signal));
  }

  /** @returns the reply; undefined when it comes later */
  async #answer(data: string): Promise<string | undefined> {
    const rest = data.slice(1);
    switch (data[0]) {
      case '?':
        return stopReply(SIGNAL.trap);
      case 'g':
        return this.#readAll();
      case 'G':
        return this.#writeAll(rest);
      case 'p':
        return this.#readOne(rest);
      case 'P':
        return this.#writeOne(rest);
      case 'm':
        return this.#readMemory(rest);
      case 'M':
        return this.#writeMemory(rest);
      case 'X':
        return this.#writeBinary(rest);
      case 'Z':
      case 'z':
        return this.#breakpoint(data[0] === 'Z', rest);
      case 'c':
      case 'C':
        return this.#goOn('cont');
      case 's':
      case 'S':
        return this.#goOn('step');
      case 'v':
        return this.#verbose(rest);
      case 'q':
      case 'Q':
        return this.#query(data);
      case 'H':
      case 'T':
        return OK;
      case 'D':
        await this.#memory.removeAll();
        this.#send(OK);
        await this.#emulator.cont();
        return undefined;
      case 'k':
        await this.#emulator.quit('host-ui');
        return undefined;
      default:
        return UNSUPPORTED;
    }
  }

  async #cpu(): Promise<CpuDraft> {
    return (await this.#emulator.machine!.command('read-cpu')) as unknown as X86CpuRecord;
  }

  async #change(change: (cpu: CpuDraft) => void): Promise<string> {
    const cpu = await this.#cpu();
    change(cpu);
    await this.#emulator.machine!.command('write-cpu', cpu as never);
    return OK;
  }

  async #readAll(): Promise<string> {
    const cpu = await this.#cpu();
    return REGISTERS.map((register) => readRegister(cpu, register)).join('');
  }

  #writeAll(hex: string): Promise<string> | string {
    const bytes = bytesOfHex(hex);
    if (bytes === undefined) return ERROR;
    return this.#change((cpu) => {
      let at = 0;
      for (const register of REGISTERS) {
        if (at + register.bytes > bytes.length) return;
        writeRegister(cpu, register, bytes.subarray(at));
        at += register.bytes;
      }
    });
  }

  async #readOne(text: string): Promise<string> {
    const register = REGISTERS[Number.parseInt(text, 16)];
    return register === undefined ? ERROR : readRegister(await this.#cpu(), register);
  }

  #writeOne(text: string): Promise<string> | string {
    const [, number, hex] = /^([\da-f]+)=([\da-f]+)$/i.exec(text) ?? [];
    const register = REGISTERS[Number.parseInt(number, 16)];
    const bytes = bytesOfHex(hex ?? '');
    if (register === undefined || bytes === undefined || bytes.length < register.bytes) return ERROR;
    return this.#change((cpu) => writeRegister(cpu, register, bytes));
  }

  async #readMemory(text: string): Promise<string> {
    const range = rangeOf(text);
    if (range === undefined) return ERROR;
    const bytes = await this.#memory.read(await this.#cpu(), range.address, Math.min(range.length, READ_MAX_BYTES));
    return bytes === undefined ? ERROR : hexOf(bytes);
  }

  async #writeMemory(text: string): Promise<string> {
    const [where, hex = ''] = text.split(':', 2);
    const [range, bytes] = [rangeOf(where), bytesOfHex(hex)];
    if (range === undefined || bytes?.length !== range.length) return ERROR;
    return (await this.#memory.write(await this.#cpu(), range.address, bytes)) ? OK : ERROR;
  }

  async #writeBinary(text: string): Promise<string> {
    const colon = text.indexOf(':');
    const range = rangeOf(text.slice(0, colon));
    const bytes = Uint8Array.from(text.slice(colon + 1), (character) => character.charCodeAt(0));
    if (range === undefined || bytes.length !== range.length) return ERROR;
    return (await this.#memory.write(await this.#cpu(), range.address, bytes)) ? OK : ERROR;
  }

  /** Software and hardware breakpoints are the same here; watchpoints gdb does itself, by steps. */
  async #breakpoint(isSet: boolean, text: string): Promise<string> {
    const [, kind, hex] = /^([0-4]),([\da-f]+),[\da-f]+/i.exec(text) ?? [];
    if (kind !== '0' && kind !== '1') return UNSUPPORTED;
    const linear = BigInt(`0x${hex}`);
    if (isSet) return (await this.#memory.insert(await this.#cpu(), linear)) ? OK : ERROR;
    await this.#memory.remove(linear);
    return OK;
  }

  async #goOn(how: 'cont' | 'step'): Promise<undefined> {
    this.#awaitsStop = true;
    if (how === 'step') await this.#emulator.step();
    else await this.#emulator.cont();
    return undefined;
  }

  async #verbose(text: string): Promise<string | undefined> {
    if (text === 'Cont?') return 'vCont;c;C;s;S';
    const action = /^Cont;([cCsS])/.exec(text)?.[1];
    if (action === undefined) return UNSUPPORTED;
    return this.#goOn(action === 's' || action === 'S' ? 'step' : 'cont');
  }

  async #query(data: string): Promise<string> {
    if (data.startsWith('qSupported')) {
      return `PacketSize=${PACKET_MAX.toString(16)};qXfer:features:read+;QStartNoAckMode+;vContSupported+`;
    }
    if (data === 'QStartNoAckMode') {
      this.#acknowledges = false;
      return OK;
    }
    const [, offset, length] = /^qXfer:features:read:target\.xml:([\da-f]+),([\da-f]+)$/i.exec(data) ?? [];
    if (offset !== undefined)
      return transfer(targetDescription(), Number.parseInt(offset, 16), Number.parseInt(length, 16));
    if (data === 'qC') return 'QC1';
    if (data === 'qfThreadInfo') return 'm1';
    if (data === 'qsThreadInfo') return 'l';
    if (data.startsWith('qThreadExtraInfo')) return hexOf(new TextEncoder().encode('CPU#0'));
    if (data === 'qAttached') return '1';
    if (data.startsWith('qRcmd,')) return this.#monitor(data.slice('qRcmd,'.length));
    return UNSUPPORTED;
  }

  /** gdb's `monitor` command: a line of the human monitor. */
  async #monitor(hex: string): Promise<string> {
    const bytes = bytesOfHex(hex);
    if (bytes === undefined) return ERROR;
    const output = await runLine(this.#emulator, new TextDecoder().decode(bytes));
    const limit = READ_MAX_BYTES - 1;
    const text = new TextEncoder().encode(output.replaceAll('\r\n', '\n'));
    for (let at = 0; at < text.length; at += limit) this.#send(`O${hexOf(text.subarray(at, at + limit))}`);
    return OK;
  }
}

function stopReply(signal: number): string {
  return `T${signal.toString(16).padStart(2, '0')}thread:1;`;
}

function rangeOf(text: string): { address: bigint; length: number } | undefined {
  const [, address, length] = /^([\da-f]{1,16}),([\da-f]{1,8})$/i.exec(text) ?? [];
  return address === undefined ? undefined : { address: BigInt(`0x${address}`), length: Number.parseInt(length, 16) };
}

/** A part of a text: `m` when more follows, `l` when not. */
function transfer(text: string, offset: number, length: number): string {
  const part = text.slice(offset, offset + Math.min(length, PACKET_MAX - 8));
  return `${offset + part.length < text.length ? 'm' : 'l'}${part}`;
}

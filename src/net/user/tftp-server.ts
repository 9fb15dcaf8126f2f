/** A read-only TFTP server for guests that boot from the network (RFC 1350, options of RFC 2347 to 2349). */
import type { HostFile, HostFolder } from '../../contract/index.ts';
import { SECOND_NANOS, type StackTimer, type Timers } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';
import { ipKey } from '../wire/ip-address.ts';
import { parseTftp, TFTP_ERROR, type TftpRequest, tftpData, tftpError, tftpOptionAck } from '../wire/tftp.ts';
import type { Flow } from './ip-output.ts';

const TRANSFERS_MAX = 32;
const BLOCK_BYTES = 512;
const BLOCK_MIN_BYTES = 8;
const RESEND_NANOS = SECOND_NANOS;
const RESENDS_MAX = 8;

interface Transfer {
  readonly flow: Flow;
  readonly file: HostFile;
  readonly blockBytes: number;
  /** The block that waits for its acknowledgement, counted from 1 without wrapping; 0 is the options. */
  block: number;
  packet: Uint8Array;
  isLast: boolean;
  resends: number;
  isReading: boolean;
  readonly timer: StackTimer;
}

export interface TftpPorts {
  readonly folder: HostFolder;
  readonly timers: Timers;
  /** The largest block that fits one packet. */
  readonly blockMaxBytes: number;
  send(flow: Flow, payload: Uint8Array): void;
}

export class TftpServer {
  readonly #ports: TftpPorts;
  readonly #transfers = new Map<string, Transfer>();
  /** Requests whose file is being opened. */
  readonly #opening = new Set<string>();

  constructor(ports: TftpPorts) {
    this.#ports = ports;
  }

  get count(): number {
    return this.#transfers.size;
  }

  receive(received: Flow, bytes: Uint8Array): void {
    const request = parseTftp(bytes);
    if (request === undefined) return;
    const flow = { ...received, guest: copyOf(received.guest), local: copyOf(received.local) };
    const key = `${ipKey(flow.guest)}${flow.guestPort}`;
    switch (request.kind) {
      case 'read':
        void this.#begin(key, flow, request);
        return;
      case 'write':
        this.#ports.send(flow, tftpError(TFTP_ERROR.illegal, 'this server is read-only'));
        return;
      case 'acknowledge':
        this.#acknowledge(key, flow, request.block);
        return;
      case 'error':
        this.#end(key);
    }
  }

  close(): void {
    for (const key of [...this.#transfers.keys()]) this.#end(key);
  }

  async #begin(key: string, flow: Flow, request: TftpRequest & { kind: 'read' }): Promise<void> {
    if (this.#opening.has(key) || this.#opening.size + this.#transfers.size >= TRANSFERS_MAX) return;
    this.#end(key);
    if (request.mode !== 'octet') {
      this.#ports.send(flow, tftpError(TFTP_ERROR.illegal, 'only mode octet is served'));
      return;
    }
    this.#opening.add(key);
    const file = await this.#ports.folder.open(request.path).catch(() => undefined);
    this.#opening.delete(key);
    if (file === undefined) {
      this.#ports.send(flow, tftpError(TFTP_ERROR.notFound, 'file not found'));
      return;
    }
    this.#start(key, flow, file, request.options);
  }

  #start(key: string, flow: Flow, file: HostFile, options: ReadonlyMap<string, string>): void {
    const accepted: [string, number][] = [];
    const asked = Number(options.get('blksize'));
    const blockBytes = asked >= BLOCK_MIN_BYTES ? Math.min(Math.trunc(asked), this.#ports.blockMaxBytes) : BLOCK_BYTES;
    if (asked >= BLOCK_MIN_BYTES) accepted.push(['blksize', blockBytes]);
    if (options.has('tsize')) accepted.push(['tsize', file.sizeBytes]);
    const timer = this.#ports.timers.create(() => this.#resend(key));
    const transfer: Transfer = {
      flow,
      file,
      blockBytes,
      block: 0,
      packet: tftpOptionAck(accepted),
      isLast: false,
      resends: 0,
      isReading: false,
      timer,
    };
    this.#transfers.set(key, transfer);
    if (accepted.length > 0) this.#send(transfer);
    else void this.#next(key, transfer);
  }

  #acknowledge(key: string, flow: Flow, block: number): void {
    const transfer = this.#transfers.get(key);
    if (transfer === undefined) {
      this.#ports.send(flow, tftpError(TFTP_ERROR.unknownTransfer, 'no such transfer'));
      return;
    }
    // An old one is not answered, or every packet would be sent twice (RFC 1123, 4.2.3.1).
    if ((transfer.block & 0xffff) !== block || transfer.isReading) return;
    if (transfer.isLast) this.#end(key);
    else void this.#next(key, transfer);
  }

  async #next(key: string, transfer: Transfer): Promise<void> {
    const { file, blockBytes } = transfer;
    transfer.isReading = true;
    transfer.timer.stop();
    const data = new Uint8Array(blockBytes);
    const count = await file.read(transfer.block * blockBytes, data).catch(() => undefined);
    if (this.#transfers.get(key) !== transfer) return;
    if (count === undefined) {
      this.#ports.send(transfer.flow, tftpError(TFTP_ERROR.undefined, 'the file cannot be read'));
      this.#end(key);
      return;
    }
    transfer.isReading = false;
    transfer.block++;
    transfer.isLast = count < blockBytes;
    transfer.packet = tftpData(transfer.block & 0xffff, data.subarray(0, count));
    transfer.resends = 0;
    this.#send(transfer);
  }

  #send({ flow, packet, timer }: Transfer): void {
    this.#ports.send(flow, packet);
    timer.start(RESEND_NANOS);
  }

  #resend(key: string): void {
    const transfer = this.#transfers.get(key)!;
    if (transfer.resends++ < RESENDS_MAX) this.#send(transfer);
    else this.#end(key);
  }

  #end(key: string): void {
    const transfer = this.#transfers.get(key);
    if (transfer === undefined) return;
    this.#transfers.delete(key);
    transfer.timer.stop();
    transfer.file.close().catch(() => {}); // nothing was written
  }
}

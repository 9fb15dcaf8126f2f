import { SECOND_NANOS } from '../timers.js';
import { ipKey } from '../wire/ip-address.js';
import { parseTftp, TFTP_ERROR, tftpData, tftpError, tftpOptionAck } from '../wire/tftp.js';
const TRANSFERS_MAX = 32;
const BLOCK_BYTES = 512;
const BLOCK_MIN_BYTES = 8;
const RESEND_NANOS = SECOND_NANOS;
const RESENDS_MAX = 8;
export class TftpServer {
    #ports;
    #transfers = new Map();
    /** Requests whose file is being opened. */
    #opening = new Set();
    constructor(ports) {
        this.#ports = ports;
    }
    get count() {
        return this.#transfers.size;
    }
    receive(received, bytes) {
        const request = parseTftp(bytes);
        if (request === undefined)
            return;
        const flow = { ...received, guest: received.guest.slice(), local: received.local.slice() };
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
    close() {
        for (const key of [...this.#transfers.keys()])
            this.#end(key);
    }
    async #begin(key, flow, request) {
        if (this.#opening.has(key) || this.#opening.size + this.#transfers.size >= TRANSFERS_MAX)
            return;
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
    #start(key, flow, file, options) {
        const accepted = [];
        const asked = Number(options.get('blksize'));
        const blockBytes = asked >= BLOCK_MIN_BYTES ? Math.min(Math.trunc(asked), this.#ports.blockMaxBytes) : BLOCK_BYTES;
        if (asked >= BLOCK_MIN_BYTES)
            accepted.push(['blksize', blockBytes]);
        if (options.has('tsize'))
            accepted.push(['tsize', file.sizeBytes]);
        const timer = this.#ports.timers.create(() => this.#resend(key));
        const transfer = {
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
        if (accepted.length > 0)
            this.#send(transfer);
        else
            void this.#next(key, transfer);
    }
    #acknowledge(key, flow, block) {
        const transfer = this.#transfers.get(key);
        if (transfer === undefined) {
            this.#ports.send(flow, tftpError(TFTP_ERROR.unknownTransfer, 'no such transfer'));
            return;
        }
        // An old one is not answered, or every packet would be sent twice (RFC 1123, 4.2.3.1).
        if ((transfer.block & 0xffff) !== block || transfer.isReading)
            return;
        if (transfer.isLast)
            this.#end(key);
        else
            void this.#next(key, transfer);
    }
    async #next(key, transfer) {
        const { file, blockBytes } = transfer;
        transfer.isReading = true;
        transfer.timer.stop();
        const data = new Uint8Array(blockBytes);
        const count = await file.read(transfer.block * blockBytes, data).catch(() => undefined);
        if (this.#transfers.get(key) !== transfer)
            return;
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
    #send({ flow, packet, timer }) {
        this.#ports.send(flow, packet);
        timer.start(RESEND_NANOS);
    }
    #resend(key) {
        const transfer = this.#transfers.get(key);
        if (transfer.resends++ < RESENDS_MAX)
            this.#send(transfer);
        else
            this.#end(key);
    }
    #end(key) {
        const transfer = this.#transfers.get(key);
        if (transfer === undefined)
            return;
        this.#transfers.delete(key);
        transfer.timer.stop();
        transfer.file.close().catch(() => { }); // nothing was written
    }
}

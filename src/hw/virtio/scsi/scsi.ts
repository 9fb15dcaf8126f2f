/** The SCSI host device: VIRTIO 1.2, section 5.6. Each target has one unit, number 0. */

import { int, stateTable } from '../../../base/index.ts';
import type { Chain } from '../chain.ts';
import type { VirtioDevice } from '../device.ts';
import { layout } from '../layout.ts';
import type { Virtqueue } from '../queue.ts';
import { Schedule, whenNotified } from '../schedule.ts';
import { decodeCommand, type ScsiAction } from './commands.ts';
import { execute, executeNow, type Outcome, type Transfer } from './execute.ts';
import { SCSI_STATUS, SENSE, senseBytes } from './sense.ts';
import { type ScsiUnit, type ScsiUnitOptions, scsiUnit } from './unit.ts';

const CONFIG = layout({
  queueCount: 'u32',
  segmentsMax: 'u32',
  sectorsMax: 'u32',
  commandsPerUnit: 'u32',
  eventBytes: 'u32',
  senseBytes: 'u32',
  cdbBytes: 'u32',
  channelMax: 'u16',
  targetMax: 'u16',
  lunMax: 'u32',
});
const EVENT_BYTES = 16;
const CDB_BYTES = { default: 32, min: 16, max: 256 };
const SENSE_BYTES = { default: 96, min: 18, max: 252 };
/** struct virtio_scsi_req_cmd before its command block, and its answer before the sense data (5.6.6.1). */
const HEADER_BYTES = 19;
const ANSWER = layout({ senseLength: 'u32', residual: 'u32', statusQualifier: 'u16', status: 'u8', response: 'u8' });
const RESPONSE = { ok: 0, badTarget: 3, functionRejected: 11 } as const;
/** Requests of the control queue (5.6.6.2). */
const CONTROL = { taskManagement: 0, query: 1, subscribe: 2 } as const;
/** From aborting a task (0) to querying a set of them. */
const TASK_FUNCTION_MAX = 7;

const QUEUE_SIZE = 256;
const CONTROL_QUEUE_SIZE = 64;
const TARGETS_MAX = 255;

export interface ScsiOptions {
  readonly name: string;
  /** By target number. */
  readonly units: readonly ScsiUnitOptions[];
  /** Request queues; default 1. */
  readonly queueCount?: number;
  /** Does work later in this turn, so that several notifications are served at once; without it, each at once. */
  readonly gather?: (work: () => void) => void;
}

export interface VirtioScsi extends VirtioDevice {
  /** Resolves when nothing is in flight. */
  idle(): Promise<void>;
}

const STATE = stateTable({
  cdbBytes: int(CDB_BYTES.min, CDB_BYTES.max, CDB_BYTES.default),
  senseBytes: int(SENSE_BYTES.min, SENSE_BYTES.max, SENSE_BYTES.default),
});

export function virtioScsi(options: ScsiOptions): VirtioScsi {
  const units = options.units.slice(0, TARGETS_MAX + 1).map(scsiUnit);
  const queueCount = Math.max(1, Math.min(options.queueCount ?? 1, 64));
  const schedule = new Schedule();
  let state = STATE.initial();

  return {
    name: options.name,
    id: 8,
    answersOutOfOrder: true,
    pciClass: 0x01_00_00,
    features: [],
    queues: [
      { maxSize: CONTROL_QUEUE_SIZE, onNotify: (queue) => queue.pump((chain) => controlRequest(queue, chain)) },
      // Buffers for events stay with the driver until there is one.
      { maxSize: CONTROL_QUEUE_SIZE, onNotify() {} },
      ...Array.from({ length: queueCount }, () => ({
        maxSize: QUEUE_SIZE,
        onNotify: whenNotified((queue) => queue.pump((chain) => command(queue, chain)), options.gather),
      })),
    ],
    attach() {},
    start() {},
    config: () =>
      CONFIG.encode({
        queueCount,
        segmentsMax: QUEUE_SIZE - 2,
        sectorsMax: 0xffff,
        commandsPerUnit: QUEUE_SIZE,
        eventBytes: EVENT_BYTES,
        senseBytes: state.senseBytes,
        cdbBytes: state.cdbBytes,
        targetMax: TARGETS_MAX,
      }),
    writeConfig(offset, bytes) {
      if (bytes.length !== 4) return;
      const value = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
      const limits = offset === CONFIG.offsets.cdbBytes ? CDB_BYTES : SENSE_BYTES;
      if (value < limits.min || value > limits.max) return;
      if (offset === CONFIG.offsets.cdbBytes) state.cdbBytes = value;
      else if (offset === CONFIG.offsets.senseBytes) state.senseBytes = value;
    },
    reset() {
      state = STATE.initial();
      schedule.reset();
    },
    snapshot: () => STATE.save(state),
    restore(record) {
      state = STATE.load(record);
    },
    idle: () => schedule.idle(),
  };

  function command(queue: Virtqueue, chain: Chain): void {
    const outOffset = HEADER_BYTES + state.cdbBytes;
    const inOffset = ANSWER.length + state.senseBytes;
    if (chain.readableBytes < outOffset || chain.writableBytes < inOffset) {
      queue.fail(`a command of ${chain.readableBytes} bytes with room for ${chain.writableBytes}`);
      return;
    }
    const header = new Uint8Array(outOffset);
    chain.read(0, header);
    const unit = unitAt(header);
    if (unit === undefined) {
      chain.write(0, ANSWER.encode({ response: RESPONSE.badTarget }));
      queue.complete(chain, inOffset);
      return;
    }
    start(queue, chain, unit, header.subarray(HEADER_BYTES), inOffset);
  }

  /** 5.6.6.1: 1, the target, and a unit number in SAM's flat or simple form. */
  function unitAt(header: Uint8Array): ScsiUnit | 'no unit' | undefined {
    const target = header[0] === 1 ? units[header[1]] : undefined;
    if (target === undefined) return undefined;
    return (((header[2] & 0x3f) << 8) | header[3]) === 0 ? target : 'no unit';
  }

  function start(queue: Virtqueue, chain: Chain, unit: ScsiUnit | 'no unit', cdb: Uint8Array, inOffset: number): void {
    const isWanted = () => queue.holds(chain);
    const outOffset = HEADER_BYTES + cdb.length;
    const inBytes = chain.writableBytes - inOffset;
    const transfer = { chain, outOffset, outBytes: chain.readableBytes - outOffset, inOffset, inBytes, isWanted };
    const action: ScsiAction =
      unit === 'no unit' ? { kind: 'failed', sense: SENSE.noSuchUnit } : decodeCommand(cdb, unit);
    const served = unit === 'no unit' ? units[0] : unit;
    const outcome = schedule.isClear ? executeNow(action, served, transfer) : undefined;
    if (outcome !== undefined) {
      answer(queue, transfer, outcome);
      return;
    }
    schedule.add(async () => {
      const later = await execute(action, served, transfer);
      if (isWanted()) answer(queue, transfer, later);
    });
  }

  function answer(queue: Virtqueue, { chain, inOffset, inBytes, outBytes }: Transfer, outcome: Outcome): void {
    const sense = outcome.sense && senseBytes(outcome.sense).subarray(0, inOffset - ANSWER.length);
    const bytes = ANSWER.encode({
      senseLength: sense?.length,
      residual: Math.max(0, Math.max(inBytes, outBytes) - outcome.expectedBytes),
      status: sense ? SCSI_STATUS.checkCondition : SCSI_STATUS.good,
      response: RESPONSE.ok,
    });
    chain.write(0, bytes);
    if (sense) chain.write(ANSWER.length, sense);
    queue.complete(chain, inOffset + outcome.inBytes);
  }

  /** 5.6.6.2: what is asked to be aborted or reset is over once nothing is in flight. */
  function controlRequest(queue: Virtqueue, chain: Chain): void {
    const head = new Uint8Array(8);
    chain.read(0, head);
    const answer = (bytes: Uint8Array) => queue.complete(chain, chain.write(0, bytes));
    switch (chain.writableBytes === 0 ? undefined : head[0]) {
      case CONTROL.taskManagement: {
        const response = head[4] <= TASK_FUNCTION_MAX ? RESPONSE.ok : RESPONSE.functionRejected;
        void schedule.idle().then(() => {
          if (queue.holds(chain)) answer(Uint8Array.of(response));
        });
        return;
      }
      case CONTROL.query:
      case CONTROL.subscribe: // there is nothing to be told about
        answer(Uint8Array.of(0, 0, 0, 0, RESPONSE.ok));
        return;
      default:
        queue.fail(`a control request of type ${head[0]}`);
    }
  }
}

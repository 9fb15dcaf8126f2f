/** Where the guest's kernel says how its memory is to be read in a dump (QEMU, docs/specs/vmcoreinfo.rst). */
import { bytes, type StateOf, stateTable } from '../../base/index.ts';
import type { Device, DeviceRecord } from '../../contract/index.ts';
import type { FwCfg } from './fw-cfg.ts';

const FILE = 'etc/vmcoreinfo';
/** struct FWCfgVMCoreInfo: both formats, size and guest physical address of a note. */
const FILE_BYTES = 16;
const ELF = 1;

const STATE = stateTable({
  file: bytes(
    FILE_BYTES,
    Uint8Array.from({ length: FILE_BYTES }, (_, i) => (i === 0 ? ELF : 0)),
  ),
});

export interface VmcoreinfoPlace {
  readonly address: number;
  readonly length: number;
}

export class Vmcoreinfo implements Device {
  readonly name = 'vmcoreinfo';
  /** The guest writes into it. */
  readonly #state: StateOf<typeof STATE> = STATE.initial();

  constructor(fwCfg: FwCfg) {
    fwCfg.addFile(FILE, this.#state.file, true);
  }

  /** The note that the guest told of, if it did. */
  get place(): VmcoreinfoPlace | undefined {
    const { file } = this.#state;
    const view = new DataView(file.buffer, file.byteOffset, file.length);
    const length = view.getUint32(4, true);
    const address = Number(view.getBigUint64(8, true));
    return view.getUint16(2, true) === ELF && length > 0 ? { address, length } : undefined;
  }

  reset(): void {
    this.#state.file.set(STATE.initial().file);
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state.file.set(STATE.load(record).file);
  }
}

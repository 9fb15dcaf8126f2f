/** What the system side of a vCPU gets from the engine: memory through the MMU, the rest from the environment. */
import type { AccessSize, LocalApic, VcpuEnvironment } from '../../contract/index.ts';
import type { Rights, SystemPorts } from '../../target/index.ts';
import type { Mmu } from './mmu.ts';

/** The TSC counts the clock's nanoseconds, unless it is told to run faster or slower. */
const defaultTscHertz = 1e9;

/** All memory ports are the MMU's; the rest is the environment's. */
export class EnginePorts implements SystemPorts {
  readonly apic: LocalApic;
  tscHertz: number = defaultTscHertz;
  onModeChanged: () => void = () => {};
  private readonly mmu: Mmu;
  private readonly environment: VcpuEnvironment;
  private readonly randomWord: () => number;

  constructor(mmu: Mmu, environment: VcpuEnvironment, randomWord: () => number) {
    this.mmu = mmu;
    this.environment = environment;
    this.apic = environment.apic;
    this.randomWord = randomWord;
  }

  read8 = (low: number, high: number, by: Rights): number => this.mmu.read8(low, high, by);
  read16 = (low: number, high: number, by: Rights): number => this.mmu.read16(low, high, by);
  read32 = (low: number, high: number, by: Rights): number => this.mmu.read32(low, high, by);
  write8 = (low: number, high: number, by: Rights, value: number): void => this.mmu.write8(low, high, by, value);
  write16 = (low: number, high: number, by: Rights, value: number): void => this.mmu.write16(low, high, by, value);
  write32 = (low: number, high: number, by: Rights, value: number): void => this.mmu.write32(low, high, by, value);
  readBytes = (low: number, high: number, by: Rights, bytes: Uint8Array, length: number): void =>
    this.mmu.readBytes(low, high, by, bytes, length);
  writeBytes = (low: number, high: number, by: Rights, bytes: Uint8Array, length: number): void =>
    this.mmu.writeBytes(low, high, by, bytes, length);
  probeWrite = (low: number, high: number, by: Rights, length: number): void =>
    this.mmu.probeWrite(low, high, by, length);
  readPhysical32 = (address: number): number => this.mmu.readPhysical32(address);
  setPhysicalBits = (address: number, bits: number): void => this.mmu.setPhysicalBits(address, bits);
  flushTlb = (keepGlobal: boolean): void => this.mmu.tlb.flush(keepGlobal);
  flushContext = (pcid: number): void => this.mmu.tlb.flushContext(pcid);
  enterContext = (pcid: number, keep: boolean): void => this.mmu.tlb.enterContext(pcid, keep);
  flushPage = (low: number, high: number): void => this.mmu.tlb.flushPage(low, high);
  modeChanged = (): void => this.onModeChanged();
  portIn = (port: number, size: AccessSize): number => this.environment.ports.read(port, size);
  portOut = (port: number, size: AccessSize, value: number): void => this.environment.ports.write(port, size, value);
  readTsc = (): number => Math.floor((this.environment.clock.nowNanos() * this.tscHertz) / 1e9);
  setTscHertz(hertz: number): void {
    this.tscHertz = hertz;
  }
  random = (): number => this.randomWord();
}

/** From a configuration to a machine: the one place where the order of construction is read. */
import { UserError } from '../base/index.ts';
import type { CharPort, CpuSignals, GuestMemory, ThreadContext, Vcpu } from '../contract/index.ts';
import {
  createPcBoard,
  ELCR_INITIAL,
  inputDevice,
  loadKernel,
  putAcpiTables,
  putSmbios,
  ramRegions,
  virtioBalloon,
  virtioConsole,
  virtioRng,
  virtioVsock,
} from '../hw/index.ts';
import { type ChangeHook, closeBackends, openBackends, openDisk } from './attached.ts';
import { type CountedNode, countNode } from './block-counters.ts';
import { slicedVcpus } from './by-turns.ts';
import { VirtualClock } from './clock.ts';
import type { MachineEvent } from './commands.ts';
import type { DiskOptions, MachineConfig, NetworkOptions } from './config.ts';
import { addExtras } from './extras.ts';
import { firstOf } from './first-vcpu.ts';
import { GatheredWork } from './gathered-work.ts';
import { hardwareOf } from './hardware.ts';
import { type DiskRow, Hotplug, type NetworkRow } from './hotplug.ts';
import { IoWatch } from './io-watch.ts';
import { savedCpus } from './machine-record.ts';
import { type OwnedDisk, releaseDisks, takeDisks } from './owned-disk.ts';
import type { PanicWatch } from './panic.ts';
import type {
  AssembledMachine,
  CreateAccelerator,
  GuestRequest,
  MachineBackends,
  Network,
  SlicedAccelerator,
  ThreadedAccelerator,
} from './parts.ts';
import { type PciPlaces, pciPlaces } from './pci-places.ts';
import { addDisks, addNetworks, addShares, SLOT } from './place-devices.ts';
import { SERIAL_PORTS } from './protocol.ts';
import type { SerialPort } from './serial-port.ts';
import { switchedLink } from './switched-link.ts';

/** What a machine is connected to outside. */
export interface Outside {
  readonly thread: ThreadContext;
  readonly serial: readonly SerialPort[];
  /** Watches what COM1 prints. */
  readonly panic: PanicWatch;
  readonly createAccelerator: CreateAccelerator;
  readonly backends: MachineBackends;
  /** Is told of what happens by itself. */
  tell?(event: MachineEvent): void;
}

/**
 * RAM first, because it decides how much there is to boot into; then the board
 * around it; the CPU last, because it needs the board's buses and local APIC.
 * Throws UserError when the kernel does not fit.
 */
export async function assemble(config: MachineConfig, outside: Outside): Promise<AssembledMachine> {
  const { thread, panic, serial } = outside;
  const clock = new VirtualClock(() => thread.monotonicNanos());
  let request: GuestRequest | undefined;
  const ask = (asked: GuestRequest) => {
    request ??= asked;
    pins[0].stop();
  };

  const attached = await openBackends(config, clock, outside);
  const accelerator = await outside.createAccelerator({
    cpuModel: config.cpu,
    ramRanges: ramRegions(config.memoryBytes),
    cpus: config.cpus,
    accel: config.accel,
    ram: config.ram,
    kernelIrqchip: config.kernelIrqchip,
    monotonicNanos: () => thread.monotonicNanos(),
    isIncoming: config.isIncoming,
  });
  const { memory } = accelerator;
  const threaded = accelerator.kind === 'threads' ? accelerator : undefined;
  const count = threaded === undefined ? config.cpus : 1;
  let onSignal = () => {};
  const wake = () => {
    onSignal();
    thread.wake(); // a completion may raise an interrupt while the guest sleeps
  };
  const pins = Array.from({ length: count }, () => forwardingSignals(wake));
  const board = createPcBoard({
    memory,
    clock,
    interrupts: threaded?.createInterrupts(ELCR_INITIAL),
    doorbells: threaded?.doorbells,
    wallClock: { nowMillis: () => thread.wallMillis() },
    cpus: pins.map(({ signals }) => signals),
    nanosFromTsc: pins[0].nanosFromTsc,
    serial: serial.slice(0, SERIAL_PORTS).map((port, index) => (index === 0 ? watched(port, panic) : port)),
    onPowerOff: () => ask({ kind: 'power-off' }),
    onReset: () => ask({ kind: 'reset' }),
    onDebugExit: (value) => ask({ kind: 'debug-exit', code: ((value << 1) | 1) & 0xff }),
    ...(config.pciHotplug ? { onEject: (slot: number) => places.ejected(slot) } : {}),
  });
  const io = new IoWatch(() => thread.monotonicNanos());
  const places: PciPlaces = pciPlaces(board, config);
  const { fillRandom } = outside.backends;
  const diskRow = (options: DiskOptions, owned: OwnedDisk, hook: ChangeHook): DiskRow => {
    const counted = countNode(io.watchNode(owned), () => thread.monotonicNanos());
    const row: DiskRow = { options, owned, counted, onChange() {}, idle: async () => {} };
    hook.onChange = () => row.onChange();
    return row;
  };
  const networkRow = (options: NetworkOptions, network: Network): NetworkRow => ({
    ...{ options, network },
    link: switchedLink(io.watchLink(network.link)),
  });
  const disks = attached.disks.map((disk, index) => diskRow(config.disks[index], disk, attached.hooks[index]));
  const networks = attached.networks.map((network, index) => networkRow(config.networks[index], network));
  const hotplug = new Hotplug({
    ...{ places, disks, networks, fillRandom },
    async openDisk(options) {
      const hook: ChangeHook = {};
      return diskRow(options, await openDisk(options, outside.backends, attached.block, hook, false), hook);
    },
    openNetwork: async (options) => networkRow(options, await outside.backends.openNetwork(options, clock)),
    onGone: (id) => outside.tell?.({ kind: 'unplugged', id }),
  });
  if (config.rng) hotplug.keep(config.rng, places.add(virtioRng({ name: 'rng0', fillRandom }), config.rng, SLOT.rng));
  const giveUp = giveUpOf(memory, threaded, outside.backends, config);
  const balloon = config.balloon && virtioBalloon({ ...config.balloon, name: 'balloon0', giveUp });
  const gathered = new GatheredWork(
    () => thread.monotonicNanos(),
    () => pins[0].stop(),
  );
  const gather = threaded === undefined ? (work: () => void) => gathered.add(work) : undefined;
  const scsi = addDisks(disks, places, { hotplug, gather });
  addNetworks(networks, places, hotplug);
  if (balloon !== undefined) places.add(balloon, config.balloon ?? {}, SLOT.balloon);
  const closeShares = addShares(config, attached.shares, places, io);
  if (config.vsock !== undefined && attached.vsock !== undefined) {
    const { guestCid } = config.vsock;
    const onActivity = () => io.active();
    const vsock = virtioVsock({ name: 'vsock0', guestCid, host: attached.vsock, onActivity });
    places.add(vsock, config.vsock, SLOT.vsock);
  }
  if (config.console !== undefined) {
    const ports = config.console.ports.map((port, index) => ({ ...port, port: serial[SERIAL_PORTS + index] }));
    places.add(virtioConsole({ name: 'console0', ports }), config.console, SLOT.console);
  }
  const inputs = config.input.map(({ kind, ...place }, index) => {
    const device = inputDevice(kind, { name: `input${index}` });
    places.add(device, place, SLOT.input);
    return device;
  });
  const { vmcoreinfo } = addExtras(config.extras, config.firmware, {
    board,
    clock,
    memory,
    ask,
    crashLoaded: () => outside.tell?.({ kind: 'crash-loaded' }),
    put: (place, make) => places.put(place, SLOT.extra, make),
  });
  const vcpus = threaded?.createVcpus({ ...board, apic: board.apics[0], mayContinue: () => request === undefined });
  const sliced = vcpus ? undefined : slicedVcpus(accelerator as SlicedAccelerator, { ...board, memory, clock }, board);
  const vcpu = sliced?.vcpu ?? firstOf(vcpus!);
  for (const [index, pin] of pins.entries()) pin.connect(sliced?.members[index] ?? vcpu);
  if (sliced) onSignal = sliced.signalled;

  const reset = () => {
    const wereRunning = vcpus?.running;
    vcpus?.pause();
    board.reset();
    vcpu.reset();
    const { smbios, acpiTables: extraTables } = config.firmware;
    const rsdp = putAcpiTables(memory, {
      cpuCount: config.cpus,
      keyboardController: board.hasKeyboardController,
      pciHotplug: config.pciHotplug,
      panicPort: config.extras.some(({ kind }) => kind === 'pvpanic'),
      extraTables,
    });
    if (smbios) putSmbios(memory, smbios, { ...smbios, cpus: config.cpus, memoryBytes: config.memoryBytes });
    vcpu.setEntry(loadKernel({ ...config.boot, rsdp }, memory).entry);
    if (wereRunning) vcpus?.resume();
  };
  if (!config.isIncoming) reset();
  return {
    clock,
    vcpu,
    vcpus,
    cpus: vcpus ?? savedCpus(sliced!.members),
    accelerator: { name: accelerator.name, note: accelerator.note },
    hardware: hardwareOf(config),
    memory,
    balloon,
    devices: board.devices,
    reset,
    pressPowerButton: () => board.pressPowerButton(),
    get hasDisks() {
      return disks.every(({ owned }) => owned.isOpen);
    },
    releaseDisks: () => releaseDisks(disks.map(({ owned }) => owned)),
    takeDisks: () => takeDisks(disks.map(({ owned }) => owned)),
    disks: () => disks.map(({ options, counted }) => ({ device: options.node?.device, ...diskState(counted) })),
    plug: (request) => hotplug.plug(request),
    unplug: (id) => hotplug.unplug(id),
    block: attached.block,
    setLink(network, up) {
      if (networks[network] === undefined) throw new UserError(`there is no network card ${network}`);
      networks[network].link.setUp(up);
    },
    sendInput(device, events) {
      if (inputs[device] === undefined) throw new UserError(`there is no input device ${device}`);
      return inputs[device].send(events);
    },
    flush() {
      board.flush();
      for (const port of serial) port.flush();
    },
    takeRequest() {
      const taken = request;
      request = undefined;
      return taken;
    },
    vmcoreinfo: () => vmcoreinfo?.place,
    hasShares: attached.shares.length > 0,
    hold() {
      vcpus?.pause();
      clock.pause();
      io.hold();
    },
    release: () => io.release(),
    gathered,
    async settled() {
      gathered.finish();
      await io.idle();
      await Promise.all([...disks, ...scsi].map((device) => device.idle()));
    },
    ioPending: () => io.pending || attached.block?.isBusy === true,
    async close() {
      await vcpus?.close();
      threaded?.close();
      await io.idle();
      closeShares();
      await closeBackends({
        ...attached,
        disks: disks.map(({ owned }) => owned),
        networks: networks.map(({ network }) => network),
        shares: [],
      });
    },
  };
}

function diskState({ sizeBytes, readOnly, counters }: CountedNode) {
  return { sizeBytes, readOnly, counters: counters() };
}

/** Lets go of pages that the guest has given up, as far as they are RAM. */
function giveUpOf(
  memory: GuestMemory,
  threaded: ThreadedAccelerator | undefined,
  { discard }: MachineBackends,
  { hasMappedRam = false }: MachineConfig,
): (base: number, length: number) => void {
  if (threaded !== undefined && !hasMappedRam) return (base, length) => threaded.memory.giveBack(base, length);
  return (base, length) => {
    const range = memory.ranges.find((one) => base >= one.base && base + length <= one.base + one.size);
    if (range === undefined || discard === undefined) return;
    discard(memory.buffer, range.offset + base - range.base, length, hasMappedRam);
    memory.written(base, length);
  };
}

/** The board needs the CPU's pins before the CPU exists: pins that lead nowhere until it is connected. */
function forwardingSignals(wake: () => void) {
  let target: Vcpu | undefined;
  const signals: CpuSignals = {
    interruptRequest() {
      target?.interruptRequest();
      wake();
    },
    nmi: () => target?.nmi(),
    init() {
      target?.init();
      wake();
    },
    startup(vector) {
      target?.startup(vector);
      wake();
    },
    setA20: (enabled) => target?.setA20(enabled),
  };
  return {
    signals,
    stop: () => target?.stop(),
    nanosFromTsc: (low: number, high: number) => target?.nanosFromTsc(low, high) ?? Number.POSITIVE_INFINITY,
    connect(vcpu: Vcpu) {
      target = vcpu;
    },
  };
}

/** COM1 with an eye on what it prints. */
function watched(port: CharPort, panic: PanicWatch): CharPort {
  return {
    write(bytes) {
      panic.feed(bytes);
      port.write(bytes);
    },
    connect: (receiver) => port.connect(receiver),
  };
}

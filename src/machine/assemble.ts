/** From a configuration to a machine: the one place where the order of construction is read. */
import { UserError } from '../base/index.ts';
import type {
  BlockNode,
  CharPort,
  Clock,
  CpuSignals,
  GuestMemory,
  SharedNode,
  ThreadContext,
  Vcpu,
} from '../contract/index.ts';
import {
  createPcBoard,
  ELCR_INITIAL,
  inputDevice,
  loadKernel,
  openVsockHost,
  putAcpiTables,
  putSmbios,
  ramRegions,
  type ScsiUnitOptions,
  type VsockHost,
  virtio9p,
  virtioBalloon,
  virtioBlk,
  virtioConsole,
  virtioNet,
  virtioRng,
  virtioScsi,
  virtioVsock,
} from '../hw/index.ts';
import { type CountedNode, countNode } from './block-counters.ts';
import { slicedVcpus } from './by-turns.ts';
import { VirtualClock } from './clock.ts';
import type { MachineEvent } from './commands.ts';
import { DISKS_MAX, type DiskOptions, type MachineConfig, NETWORKS_MAX, parseMac, SHARES_MAX } from './config.ts';
import { addExtras } from './extras.ts';
import { firstOf } from './first-vcpu.ts';
import { GatheredWork } from './gathered-work.ts';
import { hardwareOf } from './hardware.ts';
import { IoWatch } from './io-watch.ts';
import { savedCpus } from './machine-record.ts';
import { type OwnedDisk, openGraphDisk, openOwnedDisk, releaseDisks, takeDisks } from './owned-disk.ts';
import type { PanicWatch } from './panic.ts';
import type {
  AssembledMachine,
  BlockService,
  CreateAccelerator,
  GuestRequest,
  MachineBackends,
  Network,
  SlicedAccelerator,
  ThreadedAccelerator,
} from './parts.ts';
import { type PciPlaces, pciPlaces } from './pci-places.ts';
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

/** PCI device numbers on the root bus; the chipset has 0 and 31. */
const SLOT = {
  rng: 1,
  firstDisk: 2,
  firstNetwork: 2 + DISKS_MAX,
  scsi: 2 + DISKS_MAX + NETWORKS_MAX,
  firstShare: 3 + DISKS_MAX + NETWORKS_MAX,
  balloon: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
  console: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
  input: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
  vsock: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
  extra: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
};
const FIRST_MAC = '52:54:00:12:34:56';

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
  });
  const io = new IoWatch(() => thread.monotonicNanos());
  const places = pciPlaces(board, config);
  const { fillRandom } = outside.backends;
  if (config.rng) places.add(virtioRng({ name: 'rng0', fillRandom }), config.rng, SLOT.rng);
  const disks = attached.disks.map((disk) => countNode(io.watchNode(disk), () => thread.monotonicNanos()));
  const links = attached.networks.map(({ link }) => switchedLink(io.watchLink(link)));
  const giveUp = giveUpOf(memory, threaded, outside.backends);
  const balloon = config.balloon && virtioBalloon({ ...config.balloon, name: 'balloon0', giveUp });
  const gathered = new GatheredWork(
    () => thread.monotonicNanos(),
    () => pins[0].stop(),
  );
  const gather = threaded === undefined ? (work: () => void) => gathered.add(work) : undefined;
  const idlers = addDisks(config, disks, places, { onChange: attached.onChange, gather });
  addNetworks(config, links, places);
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
      return attached.disks.every(({ isOpen }) => isOpen);
    },
    releaseDisks: () => releaseDisks(attached.disks),
    takeDisks: () => takeDisks(attached.disks),
    disks: () => disks.map((disk, index) => ({ device: config.disks[index].node?.device, ...diskState(disk) })),
    block: attached.block,
    setLink(network, up) {
      if (links[network] === undefined) throw new UserError(`there is no network card ${network}`);
      links[network].setUp(up);
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
      await Promise.all(idlers.map((device) => device.idle()));
    },
    ioPending: () => io.pending || attached.block?.isBusy === true,
    async close() {
      await vcpus?.close();
      threaded?.close();
      await io.idle();
      closeShares();
      await closeBackends({ ...attached, shares: [] });
    },
  };
}

interface Attached {
  readonly disks: OwnedDisk[];
  readonly networks: Network[];
  readonly shares: SharedNode[];
  vsock?: VsockHost;
  block?: BlockService;
  /** What is to be done when a disk, by its number, has another size or medium. */
  readonly onChange: (() => void)[];
}

/** Lets go of pages that the guest has given up, as far as they are RAM. */
function giveUpOf(
  memory: GuestMemory,
  threaded: ThreadedAccelerator | undefined,
  { discard }: MachineBackends,
): (base: number, length: number) => void {
  if (threaded !== undefined) return (base, length) => threaded.memory.giveBack(base, length);
  return (base, length) => {
    const range = memory.ranges.find((one) => base >= one.base && base + length <= one.base + one.size);
    if (range === undefined || discard === undefined) return;
    discard(memory.buffer, range.offset + base - range.base, length);
    memory.written(base, length);
  };
}

/** All or none: when one cannot be opened, the others are closed again. */
async function openBackends(
  { disks, networks, shares, vsock, block, isIncoming }: MachineConfig,
  clock: Clock,
  { backends, tell }: Outside,
): Promise<Attached> {
  const opened: Attached = { disks: [], networks: [], shares: [], onChange: [] };
  try {
    if (block !== undefined)
      opened.block = await backends.openBlock?.({ ...block, isElsewhere: isIncoming }, (name, data) =>
        tell?.({ kind: 'block', name, data }),
      );
    for (const [index, disk] of disks.entries()) {
      const onChange = () => opened.onChange[index]?.();
      opened.disks.push(
        disk.node === undefined
          ? await openOwnedDisk(disk, backends, isIncoming)
          : openGraphDisk(disk, disk.node, opened.block, onChange),
      );
    }
    for (const network of networks) opened.networks.push(await backends.openNetwork(network, clock));
    for (const share of shares) opened.shares.push(await backends.openShare(share));
    if (vsock !== undefined) opened.vsock = await openVsockHost(vsock.path, backends.sockets);
    return opened;
  } catch (error) {
    await closeBackends(opened);
    throw error;
  }
}

async function closeBackends({ disks, networks, shares, vsock, block }: Attached): Promise<void> {
  vsock?.close();
  for (const share of shares) share.close();
  for (const network of networks) network.close();
  await Promise.all(disks.map((disk) => disk.close()));
  await block?.close();
}

function diskState({ sizeBytes, readOnly, counters }: CountedNode) {
  return { sizeBytes, readOnly, counters: counters() };
}

/** @returns the devices, which may have requests under way */
function addDisks(
  config: MachineConfig,
  disks: readonly BlockNode[],
  places: PciPlaces,
  { onChange, gather }: { readonly onChange: (() => void)[]; readonly gather?: (work: () => void) => void },
): { idle(): Promise<void> }[] {
  const devices: { idle(): Promise<void> }[] = [];
  const units: ScsiUnitOptions[] = [];
  for (const [index, node] of disks.entries()) {
    const disk = config.disks[index];
    const name = `disk${index}`;
    const serial = disk.serial ?? name;
    if (isOnScsi(disk)) units.push({ kind: disk.media ?? 'disk', node, serial });
    else {
      const device = virtioBlk({ name, node, serial, queueCount: disk.queues, gather });
      devices.push(device);
      onChange[index] = () => device.resized();
      places.add(device, disk, SLOT.firstDisk);
    }
  }
  if (units.length > 0) {
    const device = virtioScsi({ name: 'scsi0', units });
    devices.push(device);
    places.add(device, {}, SLOT.scsi);
  }
  return devices;
}

function isOnScsi({ bus, media }: DiskOptions): boolean {
  return bus === 'scsi' || media === 'cdrom';
}

function addNetworks(config: MachineConfig, links: readonly Network['link'][], places: PciPlaces): void {
  for (const [index, link] of links.entries()) {
    const { mac: given, queues, ...place } = config.networks[index];
    const mac = parseMac(given ?? FIRST_MAC);
    if (given === undefined) mac[5] += index;
    places.add(virtioNet({ name: `net${index}`, link, mac, pairs: queues }), place, SLOT.firstNetwork);
  }
}

/** Returns what closes them. */
function addShares(
  { shares }: MachineConfig,
  roots: readonly SharedNode[],
  places: PciPlaces,
  io: IoWatch,
): () => void {
  const onWork = (work: Promise<unknown>) => io.watch(work);
  const devices = shares.map(({ tag, readOnly, security, ...place }, index) => {
    const device = virtio9p({ name: `share${index}`, root: roots[index], tag, readOnly, security, onWork });
    places.add(device, place, SLOT.firstShare);
    return device;
  });
  return () => {
    for (const device of devices) device.close();
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

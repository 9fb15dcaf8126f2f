/**
 * The host's side of a guest's socket device, as unix sockets: the scheme that
 * Firecracker made known. A guest's connection to port P of the host goes to the
 * socket PATH_P. Whoever connects to PATH and says `CONNECT P` in a line is
 * connected to port P of the guest, and told `OK` and the port at the host's end.
 */
import type { HostSockets, HostStream, HostStreamEvents } from '../../../contract/index.ts';

/** The line with which a program of the host's asks for a port of the guest. */
const LINE_BYTES_MAX = 32;
const LINE = /^CONNECT (\d{1,10})$/;
const NEWLINE = 10;
const PORT_MAX = 0xffff_fffe;

/** Who decides about a program's request. */
export interface VsockGuest {
  /**
   * A program asks for a port of the guest. Returns who takes the stream's events, and
   * calls `accepted` before it writes anything; undefined refuses.
   */
  connect(guestPort: number, stream: HostStream): HostStreamEvents | undefined;
}

export interface VsockHost {
  /** Begins to connect to what listens for the guest at a port of the host's. */
  connect(hostPort: number, events: HostStreamEvents): HostStream;
  /** Names who is asked for ports of the guest. */
  attach(guest: VsockGuest): void;
  close(): void;
}

/** @throws UserError when the path cannot be listened at */
export async function openVsockHost(path: string, sockets: HostSockets): Promise<VsockHost> {
  let guest: VsockGuest | undefined;
  const listener = await sockets.listen({ kind: 'unix', path }, (stream) => greeting(stream, () => guest));
  return {
    connect: (hostPort, events) => sockets.connect({ kind: 'unix', path: `${path}_${hostPort}` }, events),
    attach(given) {
      guest = given;
    },
    close: () => listener.close(),
  };
}

/** Reads the first line of a program that has connected, then leaves the stream to the guest's end. */
function greeting(stream: HostStream, guest: () => VsockGuest | undefined): HostStreamEvents {
  let line: number[] = [];
  let events: HostStreamEvents | undefined;
  let isOver = false;
  const refuse = () => {
    isOver = true;
    stream.destroy();
  };
  return {
    data(bytes) {
      if (events !== undefined) return events.data(bytes);
      if (isOver) return;
      const end = bytes.indexOf(NEWLINE);
      line.push(...bytes.subarray(0, Math.min(end === -1 ? bytes.length : end, LINE_BYTES_MAX + 1)));
      if (line.length > LINE_BYTES_MAX) return refuse();
      if (end === -1) return;
      const port = Number(LINE.exec(String.fromCharCode(...line))?.[1] ?? Number.NaN);
      line = [];
      events = port <= PORT_MAX ? guest()?.connect(port, stream) : undefined;
      if (events === undefined) return refuse();
      if (end + 1 < bytes.length) events.data(bytes.subarray(end + 1));
    },
    written: (byteCount) => events?.written?.(byteCount),
    ended() {
      if (events !== undefined) events.ended();
      else refuse();
    },
    closed(failure) {
      isOver = true;
      events?.closed(failure);
    },
  };
}

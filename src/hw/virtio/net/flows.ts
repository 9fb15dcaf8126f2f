/** Flows by number: both directions of a connection have the same one, so that its answers find its queue. */

const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const TYPE_AT = 12;
const [TCP, UDP] = [6, 17];

/** 0 to 255; frames that are not IP are all one flow. */
export function flowOf(frame: Uint8Array): number {
  const type = (frame[TYPE_AT] << 8) | frame[TYPE_AT + 1];
  if (type === IPV4) return fold(frame, 26, 34, portsAt(frame, 23, 14 + (frame[14] & 0xf) * 4));
  if (type === IPV6) return fold(frame, 22, 54, portsAt(frame, 20, 54));
  return 0;
}

/** Where the ports are, or undefined when the protocol has none. */
function portsAt(frame: Uint8Array, protocolAt: number, at: number): number | undefined {
  return frame[protocolAt] === TCP || frame[protocolAt] === UDP ? at : undefined;
}

function fold(frame: Uint8Array, from: number, to: number, ports: number | undefined): number {
  let hash = 0;
  for (let at = from; at < to; at++) hash ^= frame[at] ?? 0;
  if (ports !== undefined) for (let at = ports; at < ports + 4; at++) hash ^= frame[at] ?? 0;
  return hash;
}

/** Networks without privileges: the user-mode network, wire formats, TCP, links and filters. */
export { type DatagramLinkOptions, openDatagramLink } from './link/datagram-link.ts';
export { type DumpOptions, dumpLink } from './link/dump.ts';
export { type Impairment, type ImpairPorts, impairLink } from './link/impair.ts';
export { joinLinks } from './link/join.ts';
export { framed, STREAM_FRAME_MAX_BYTES, StreamFrameReader } from './link/stream-framing.ts';
export { type OutsideLink, openStreamLink, type StreamLinkOptions, type StreamLinkPorts } from './link/stream-link.ts';
export { createSwitch, type PortVlan, type Switch, type SwitchPort } from './switch/switch.ts';
export { TcpConnection, type TcpState } from './tcp/connection.ts';
export type { OutgoingSegment, TcpConfig, TcpEnd, TcpEvents, TcpNetwork } from './tcp/port.ts';
export { type StackTimer, Timers } from './timers.ts';
export { DEFAULT_LIMITS, type UserNetLimits, type UserNetOptions } from './user/config.ts';
export type { EgressRule } from './user/egress.ts';
export type { GuestForward, GuestForwardTarget, HostForward } from './user/forward-text.ts';
export { parseUserNetText, type UserNetText } from './user/option-text.ts';
export type { OpenStream } from './user/tcp-nat.ts';
export { createUserNet, type UserNet, type UserNetPorts, type UserNetStatistics } from './user/user-net.ts';
export * from './wire/index.ts';

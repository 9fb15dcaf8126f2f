import type { Clock, HostFolder, HostResolver, HostSockets, NetLink } from '../../contract/index.ts';
import { type IpAddress } from '../wire/ip-address.ts';
import { type UserNetOptions } from './config.ts';
import { type GuestForward, type HostForward } from './forward-text.ts';
import { type OpenStream } from './tcp-nat.ts';
/** What the network needs of the world around it. */
export interface UserNetPorts {
    readonly clock: Clock;
    readonly sockets: HostSockets;
    readonly resolver: HostResolver;
    /** 32 bits that nobody can guess. */
    random(): number;
    /** What TFTP serves; without it there is no TFTP. */
    readonly tftpFolder?: HostFolder;
}
export interface UserNetStatistics {
    readonly receivedFrames: number;
    readonly sentFrames: number;
    readonly droppedFrames: number;
    readonly tcpConnections: number;
    readonly udpAssociations: number;
    readonly dnsQueries: number;
    readonly bufferedBytes: number;
    readonly runningTimers: number;
}
export interface UserNet {
    /** Where the guest's card is plugged in. */
    readonly link: NetLink;
    /** Rejects with UserError. Resolves to the rule in force, with its port. */
    addHostForward(text: string): Promise<HostForward>;
    /** `[tcp|udp]:[hostaddr]:hostport`, as QEMU's hostfwd_remove takes it. False when there is none. */
    removeHostForward(text: string): boolean;
    hostForwards(): HostForward[];
    /** Throws UserError. With `open`, the stream comes from there instead of the text's target. */
    addGuestForward(rule: string | (Omit<GuestForward, 'target'> & {
        readonly open: OpenStream;
    })): void;
    removeGuestForward(address: IpAddress, port: number): boolean;
    statistics(): UserNetStatistics;
    /** Ends all connections and gives up all sockets. */
    close(): void;
}
/** Throws UserError for options that are wrong. */
export declare function createUserNet(options: UserNetOptions, ports: UserNetPorts): UserNet;

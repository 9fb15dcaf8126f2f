/** The wire formats: each parses to a representation that holds only legal values, or to undefined. */
export * from './arp.ts';
export * from './checksum.ts';
export * from './dhcp.ts';
export * from './dhcpv6.ts';
export * from './dns.ts';
export * from './ethernet.ts';
export * from './icmp.ts';
export * from './ip.ts';
export * from './ip-address.ts';
export * from './mac.ts';
export * from './ndp.ts';
export * from './tcp.ts';
export * from './tftp.ts';
export * from './udp.ts';

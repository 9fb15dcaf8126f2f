/** The wire formats: each parses to a representation that holds only legal values, or to undefined. */
export * from './arp.js';
export * from './checksum.js';
export * from './dhcp.js';
export * from './dhcpv6.js';
export * from './dns.js';
export * from './ethernet.js';
export * from './icmp.js';
export * from './ip.js';
export * from './ip-address.js';
export * from './mac.js';
export * from './ndp.js';
export * from './tcp.js';
export * from './tftp.js';
export * from './udp.js';

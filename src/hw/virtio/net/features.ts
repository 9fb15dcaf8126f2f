/** Feature bits of the network device: VIRTIO 1.2, section 5.1.3. */
export const NET_FEATURE = {
  /** The device finishes checksums for the driver. */
  checksum: 0,
  /** The driver takes frames with unfinished checksums. */
  guestChecksum: 1,
  controlGuestOffloads: 2,
  mtu: 3,
  mac: 5,
  guestTcp4: 7,
  guestTcp6: 8,
  hostTcp4: 11,
  hostTcp6: 12,
  mergeableBuffers: 15,
  status: 16,
  controlQueue: 17,
  controlReceive: 18,
  controlVlan: 19,
  controlReceiveExtra: 20,
  announce: 21,
  multiQueue: 22,
  controlMac: 23,
} as const;

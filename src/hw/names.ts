/** What machines' options name: also for programs that have no use for the devices, or not yet. */

/** Whose files a shared folder's are (virtio/9p/security.ts). */
export const SECURITY_MODELS = ['none', 'mapped-xattr', 'mapped-file'] as const;
export type SecurityModelName = (typeof SECURITY_MODELS)[number];

/** Guest context ids of the socket device: 0 to 2 have meanings of their own. */
export const GUEST_CID = { min: 3, max: 0xffff_fffe };

/**
 * Which interfaces a virtio device has on PCI: that of virtio 1.0 and later; both; the older one alone. Devices that
 * never had the older one are modern whatever is asked for.
 */
export type VirtioPciMode = 'modern' | 'transitional' | 'legacy';
export const VIRTIO_PCI_MODES: readonly VirtioPciMode[] = ['modern', 'transitional', 'legacy'];

export type InputKind = 'keyboard' | 'mouse' | 'tablet';
export const INPUT_KINDS: readonly InputKind[] = ['keyboard', 'mouse', 'tablet'];

export type BridgeKind = 'pci-bridge' | 'pcie-root-port';

/** What an image format is, and what an opened image offers beyond a plain node. */
import type { BlockCrypto, BlockNode } from '../contract/index.ts';
import type { Compression } from './compression.ts';
import type { WindowOptions } from './filters/window.ts';

/** How an image names the one that it stands on. The name is as the image has it; nothing was opened. */
export interface BackingReference {
  readonly filename: string;
  readonly format?: string;
}

/** Opens what an image refers to; this is where the caller confines which files may be reached. */
export type ResolveBacking = (reference: BackingReference) => Promise<BlockNode>;
export type ResolveDataFile = (filename: string) => Promise<BlockNode>;

/** Random bytes that need not be secret. */
export function weakRandom(length: number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(Math.random() * 256));
}

/** Encrypts and decrypts whole sectors of 512 bytes in place; the first of them is sector `sector` of the disk. */
export interface SectorCipher {
  encrypt(sector: number, bytes: Uint8Array): Promise<void> | void;
  decrypt(sector: number, bytes: Uint8Array): Promise<void> | void;
}

export interface OpenOptions {
  /** Names the image in complaints. */
  readonly name: string;
  readonly readOnly?: boolean;
  /** Without it, an image that has a backing file is refused. */
  readonly resolveBacking?: ResolveBacking;
  /** Leave the backing file alone: what is not allocated reads as zeros. */
  readonly withoutBacking?: boolean;
  /** Opens the other files that hold this image's own data: a qcow2's data file, the extents of a vmdk. */
  readonly resolveDataFile?: ResolveDataFile;
  readonly compression?: Compression;
  /** For encrypted images. */
  readonly crypto?: BlockCrypto;
  /** The passphrase of an encrypted image; without it, what the image is can be told, but not read or written. */
  readonly secret?: Uint8Array;
  /** For images whose clusters are encrypted sector by sector (a qcow's AES); without it they are refused. */
  readonly cipher?: SectorCipher;
  /** A part of the file instead of all of it; raw only. */
  readonly window?: WindowOptions;
  /** Open for repair: dirty and corrupt images too, changing nothing by itself. */
  readonly forCheck?: boolean;
  /** Random bytes that name new states of an image (a vmdk's CID, a vhdx's GUIDs); Math.random without it. */
  readonly random?: (length: number) => Uint8Array;
  /** Reads of an internal snapshot's disk instead of the present one, by id or name; read-only. */
  readonly snapshot?: string;
}

export interface CheckResult {
  corruptions: number;
  leaks: number;
  corruptionsFixed: number;
  leaksFixed: number;
  /** Errors that kept the check itself from going on. */
  checkErrors: number;
  /** The four counts of clusters are 0 for formats that do not tell them. */
  totalClusters: number;
  allocatedClusters: number;
  fragmentedClusters: number;
  compressedClusters: number;
  imageEndOffset: number;
  /** One line a finding; at most `MESSAGES_MAX` of them. */
  readonly messages: string[];
}

export type Repair = 'none' | 'leaks' | 'all';

/** An internal snapshot. */
export interface SnapshotInfo {
  readonly id: string;
  readonly name: string;
  readonly vmStateBytes: number;
  readonly dateSeconds: number;
  readonly dateNanos: number;
  readonly vmClockNanos: number;
  readonly diskBytes: number;
  /** Instructions executed, where the machine counted them. */
  readonly instructionCount?: number;
}

export interface SnapshotRequest {
  readonly name: string;
  readonly dateSeconds: number;
  readonly dateNanos: number;
  readonly vmClockNanos?: number;
}

export interface Snapshots {
  list(): readonly SnapshotInfo[];
  /** @param state of the machine, to be kept in the snapshot; the disk may not be written to meanwhile */
  create(request: SnapshotRequest, state?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<SnapshotInfo>;
  /** Fills `target` from the machine's state in a snapshot, whose length is `vmStateBytes`. */
  readState(idOrName: string, offset: number, target: Uint8Array): Promise<void>;
  /** Makes the disk what it was. */
  apply(idOrName: string): Promise<void>;
  delete(idOrName: string): Promise<void>;
}

/** A persistent bitmap of what was written. */
export interface BitmapInfo {
  readonly name: string;
  /** Bytes of disk that one bit stands for. */
  readonly granularityBytes: number;
  /** Writes to the disk set its bits. */
  readonly isEnabled: boolean;
  /** Was in use when a program ended without closing the image, so its bits may be wrong. */
  readonly isInUse: boolean;
}

export interface Bitmaps {
  list(): readonly BitmapInfo[];
  /** The new bitmap is clear and enabled. */
  add(request: { readonly name: string; readonly granularityBytes: number }): Promise<void>;
  remove(name: string): Promise<void>;
  clear(name: string): Promise<void>;
  setEnabled(name: string, isEnabled: boolean): Promise<void>;
  /** What the bitmap says was written, in order. */
  dirtyRanges(name: string): Promise<readonly { readonly offset: number; readonly length: number }[]>;
  /** Sets the bits of ranges. */
  mark(name: string, ranges: readonly { readonly offset: number; readonly length: number }[]): Promise<void>;
}

export interface ImageInfo {
  readonly clusterBytes?: number;
  readonly backing?: BackingReference;
  readonly dirty?: boolean;
  readonly encrypted?: boolean;
  readonly compressed?: boolean;
  /** Names of the other files that hold the image's own data, as they are found from where the image is. */
  readonly dataFiles?: readonly string[];
  /** What images that stand on this one know it by, where their format has more than names. */
  readonly contentId?: string;
  /** Everything written is compressed, so whole clusters by `writeCompressed` are best. */
  readonly needsCompressedWrites?: boolean;
  /** What only this format has: names as in QAPI's ImageInfoSpecific. */
  readonly specific?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> };
}

/** A node with an image format in it. */
export interface ImageNode extends BlockNode {
  readonly format: string;
  readonly info: ImageInfo;
  /** The node below, when the image has one and it was opened. */
  readonly backing?: BlockNode;
  readonly snapshots?: Snapshots;
  readonly bitmaps?: Bitmaps;
  /** Absent where the format has nothing to check. */
  check?(repair: Repair): Promise<CheckResult>;
  /** Writes one whole cluster, compressed. Where it is already allocated, the cluster is replaced. */
  writeCompressed?(offset: number, source: Uint8Array): Promise<void>;
  /** Gives all of the disk, or what comes after `fromBytes`, its place in the file. */
  preallocate?(mode: Preallocation, fromBytes?: number): Promise<void>;
  /** Rewrites the name of the backing file, without looking at what is in it. */
  changeBacking?(reference: BackingReference | undefined): Promise<void>;
  /** Changes how an existing image is laid out. @throws UserError for what cannot be changed */
  amend?(changes: ImageChanges): Promise<void>;
  /**
   * Changes which passphrases open an image encrypted with LUKS. `force` allows what may lose all data.
   * @throws UserError for what cannot be done
   */
  amendKeys?(change: KeySlotChange, force: boolean): Promise<void>;
  /** Forgets all that is allocated, so that everything comes from the backing file again. */
  makeEmpty?(): Promise<void>;
}

export interface ImageChanges {
  /** The version of a qcow2 image. */
  readonly version?: 2 | 3;
  readonly lazyRefcounts?: boolean;
  /** How wide a reference count is: 1, 2, 4 … 64. */
  readonly refcountBits?: number;
  /** The external data file is a raw image too. */
  readonly rawDataFile?: boolean;
}

/** QAPI's QCryptoBlockAmendOptionsLUKS. */
export interface KeySlotChange {
  readonly state: 'active' | 'inactive';
  /** Of the slot that becomes active. */
  readonly newSecret?: Uint8Array;
  /** Of the slots that become inactive. */
  readonly oldSecret?: Uint8Array;
  readonly keySlot?: number;
  readonly iterationMillis?: number;
}

export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full';

/** A `-o` option of `create`. */
export interface CreateOption {
  readonly name: string;
  readonly help: string;
}

export interface Format {
  readonly name: string;
  readonly createOptions: readonly CreateOption[];
  /** How sure the format is, 0 to 100, given the file's first bytes (up to 2 KiB), that it is its own. */
  probe(head: Uint8Array, name: string): number;
  open(file: BlockNode, options: OpenOptions): Promise<ImageNode>;
}

/**
 * zlib and zstd by direct calls of the C functions that Node carries (it exports them for addons): no stream
 * object, no copies and no promise for each cluster. Used in threads of its own, see block-codec-pool.ts.
 */
import { type Ffi, loadFfi } from './ffi.ts';

export type CodecKind = 'zlib' | 'zstd';

export interface Codec {
  /** Bytes written to `target`, or 0 when it would not hold them. */
  compress(kind: CodecKind, source: Uint8Array, target: Uint8Array): number;
  /** False when the stream is broken or does not fill `target` exactly. */
  decompress(kind: CodecKind, source: Uint8Array, target: Uint8Array): boolean;
}

/** zlib.h: z_stream on 64-bit systems. */
const STREAM = { bytes: 112, nextIn: 0, availIn: 8, nextOut: 24, availOut: 32 } as const;
const Z_FINISH = 4;
const Z_STREAM_END = 1;
const Z_DEFLATED = 8;
const Z_DEFAULT_LEVEL = -1;
const Z_MEMORY_LEVEL = 8;
/** QEMU reads deflate streams with a window of 4 KiB (docs/interop/qcow2.txt, compressed clusters); raw ones are negative. */
const WINDOW_BITS = -12;
/** What is read may have been written with any window. */
const WINDOW_BITS_MAX = -15;

/** zstd.h: a cluster's window is the cluster; tables for more would only be cleared and missed in the caches. */
const ZSTD_SETTINGS = [
  [101, 17], // windowLog
  [102, 16], // hashLog
  [103, 15], // chainLog
] as const;

/** Undefined where Node has no FFI or does not export the functions. */
export function openCodec(): Codec | undefined {
  const ffi = loadFfi();
  if (ffi === undefined) return undefined;
  try {
    const zlib = zlibCodec(ffi);
    const zstd = zstdCodec(ffi);
    return {
      compress: (kind, source, target) => (kind === 'zlib' ? zlib : zstd).compress(source, target),
      decompress: (kind, source, target) => (kind === 'zlib' ? zlib : zstd).decompress(source, target),
    };
  } catch {
    return undefined;
  }
}

interface OneCodec {
  compress(source: Uint8Array, target: Uint8Array): number;
  decompress(source: Uint8Array, target: Uint8Array): boolean;
}

function zlibCodec(ffi: Ffi): OneCodec {
  const { functions } = ffi.dlopen(null, {
    zlibVersion: { arguments: [], return: 'pointer' },
    deflateInit2_: {
      arguments: ['pointer', 'int32', 'int32', 'int32', 'int32', 'int32', 'pointer', 'int32'],
      return: 'int32',
    },
    deflate: { arguments: ['pointer', 'int32'], return: 'int32' },
    deflateReset: { arguments: ['pointer'], return: 'int32' },
    inflateInit2_: { arguments: ['pointer', 'int32', 'pointer', 'int32'], return: 'int32' },
    inflate: { arguments: ['pointer', 'int32'], return: 'int32' },
    inflateReset: { arguments: ['pointer'], return: 'int32' },
  });
  const version = functions.zlibVersion();
  const made = (result: bigint | number) => {
    if (result !== 0) throw new Error(`zlib cannot begin: ${result}`);
  };
  const packer = streamOf(ffi);
  made(
    functions.deflateInit2_(
      packer.address,
      Z_DEFAULT_LEVEL,
      Z_DEFLATED,
      WINDOW_BITS,
      Z_MEMORY_LEVEL,
      0,
      version,
      STREAM.bytes,
    ),
  );
  const unpacker = streamOf(ffi);
  made(functions.inflateInit2_(unpacker.address, WINDOW_BITS_MAX, version, STREAM.bytes));
  return {
    compress(source, target) {
      functions.deflateReset(packer.address);
      packer.set(source, target);
      const isWhole = functions.deflate(packer.address, Z_FINISH) === Z_STREAM_END;
      return isWhole ? target.length - packer.rest() : 0;
    },
    decompress(source, target) {
      functions.inflateReset(unpacker.address);
      unpacker.set(source, target);
      return functions.inflate(unpacker.address, Z_FINISH) === Z_STREAM_END && unpacker.rest() === 0;
    },
  };
}

function streamOf(ffi: Ffi) {
  const bytes = new Uint8Array(STREAM.bytes);
  const view = new DataView(bytes.buffer);
  return {
    /** Keeps the memory alive as long as the stream is. */
    bytes,
    address: ffi.getRawPointer(bytes),
    set(source: Uint8Array, target: Uint8Array) {
      view.setBigUint64(STREAM.nextIn, ffi.getRawPointer(source), true);
      view.setUint32(STREAM.availIn, source.length, true);
      view.setBigUint64(STREAM.nextOut, ffi.getRawPointer(target), true);
      view.setUint32(STREAM.availOut, target.length, true);
    },
    rest: () => view.getUint32(STREAM.availOut, true),
  };
}

function zstdCodec(ffi: Ffi): OneCodec {
  const block = ['pointer', 'buffer', 'uint64', 'buffer', 'uint64'];
  const { functions } = ffi.dlopen(null, {
    ZSTD_createCCtx: { arguments: [], return: 'pointer' },
    ZSTD_createDCtx: { arguments: [], return: 'pointer' },
    ZSTD_CCtx_setParameter: { arguments: ['pointer', 'int32', 'int32'], return: 'uint64' },
    ZSTD_compress2: { arguments: block, return: 'uint64' },
    ZSTD_decompressDCtx: { arguments: block, return: 'uint64' },
    ZSTD_isError: { arguments: ['uint64'], return: 'uint32' },
  });
  const packer = functions.ZSTD_createCCtx();
  const unpacker = functions.ZSTD_createDCtx();
  const lengthOf = (result: bigint | number) => (functions.ZSTD_isError(result) === 0 ? Number(result) : undefined);
  for (const [parameter, value] of ZSTD_SETTINGS) functions.ZSTD_CCtx_setParameter(packer, parameter, value);
  const size = ({ length }: Uint8Array) => BigInt(length);
  return {
    compress: (source, target) =>
      lengthOf(functions.ZSTD_compress2(packer, target, size(target), source, size(source))) ?? 0,
    decompress: (source, target) =>
      lengthOf(functions.ZSTD_decompressDCtx(unpacker, target, size(target), source, size(source))) === target.length,
  };
}

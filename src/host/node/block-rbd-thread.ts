/** The thread of one RBD image: librados and librbd wait for the cluster within their calls. */
import { parentPort, workerData } from 'node:worker_threads';
import type { RbdAnswer, RbdImageOptions, RbdTask } from './block-rbd.ts';
import { type Ffi, loadFfi } from './ffi.ts';

type Call = (...values: (bigint | number | Uint8Array | null)[]) => bigint | number;
type Signature = { arguments: string[]; return: string };

const plain = (...parameters: string[]): Signature => ({ arguments: parameters, return: 'int32' });
const nothing = (...parameters: string[]): Signature => ({ arguments: parameters, return: 'void' });
const sized = (...parameters: string[]): Signature => ({ arguments: parameters, return: 'int64' });

/** rados/librados.h; handles are pointers, those that a call makes are written to where its pointer leads. */
const RADOS = {
  rados_create: plain('pointer', 'pointer'),
  rados_conf_read_file: plain('pointer', 'pointer'),
  rados_conf_set: plain('pointer', 'pointer', 'pointer'),
  rados_connect: plain('pointer'),
  rados_shutdown: nothing('pointer'),
  rados_ioctx_create: plain('pointer', 'pointer', 'pointer'),
  rados_ioctx_set_namespace: nothing('pointer', 'pointer'),
  rados_ioctx_destroy: nothing('pointer'),
};
/** rbd/librbd.h */
const RBD = {
  rbd_create: plain('pointer', 'pointer', 'uint64', 'pointer'),
  rbd_open: plain('pointer', 'pointer', 'pointer', 'pointer'),
  rbd_open_read_only: plain('pointer', 'pointer', 'pointer', 'pointer'),
  rbd_close: plain('pointer'),
  rbd_get_size: plain('pointer', 'pointer'),
  rbd_read: sized('pointer', 'uint64', 'uint64', 'pointer'),
  rbd_write: sized('pointer', 'uint64', 'uint64', 'pointer'),
  rbd_discard: plain('pointer', 'uint64', 'uint64'),
  rbd_flush: plain('pointer'),
  rbd_resize: plain('pointer', 'uint64'),
};
/** Since Ceph 15.2. */
const WRITE_ZEROES = { rbd_write_zeroes: sized('pointer', 'uint64', 'uint64', 'int32', 'int32') };
/** RBD_WRITE_ZEROES_FLAG_THICK_PROVISION: keep the space. */
const KEEP_SPACE = 1;
const EIO = 5;

/** A sentence for people. */
class Refusal extends Error {}

const options = workerData as RbdImageOptions;
const port = parentPort!;
const answer = (message: RbdAnswer, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);
const undo: (() => void)[] = [];
const tidy = () => {
  for (const action of undo.splice(0).reverse()) action();
};

try {
  serve();
} catch (error) {
  tidy();
  answer({ refused: (error as Error).message });
  port.close();
}

function serve(): void {
  const ffi = loadFfi();
  if (ffi === undefined) throw new Refusal('rbd needs a Node that can call C libraries (node:ffi)');
  const c = libraries(ffi);
  const reason = reasons(ffi);
  const check = (result: bigint | number, what: string) => {
    if (Number(result) < 0) throw new Refusal(`${what}: ${reason(-Number(result))}`);
  };
  const pool = openPool(c, check);
  if (options.createBytes !== undefined) {
    const order = new Uint8Array(4); // 0: the cluster's own object size
    const made = c.rbd_create(pool, text(options.image), BigInt(options.createBytes), order);
    check(made, `cannot create the image '${options.image}'`);
    tidy();
    answer({ opened: 0, writesZeroes: false });
    port.close();
    return;
  }
  const { image: name, snapshot, readOnly } = options;
  const image = made((place) => {
    const open = readOnly ? c.rbd_open_read_only : c.rbd_open;
    const shown = snapshot === undefined ? `image '${name}'` : `snapshot '${snapshot}' of the image '${name}'`;
    check(open(pool, text(name), place, snapshot === undefined ? null : text(snapshot)), `cannot open the ${shown}`);
  });
  undo.push(() => c.rbd_close(image));
  const size = new BigUint64Array(1);
  check(c.rbd_get_size(image, bytesOf(size)), 'cannot find the size');
  if (size[0] > BigInt(Number.MAX_SAFE_INTEGER)) throw new Refusal('it is larger than 2^53 bytes');
  port.on('message', (task: RbdTask) => {
    if (task.kind === 'close') tidy();
    const { done, bytes } = task.kind === 'close' ? { done: 0 } : perform(c, image, task);
    const failure = done < 0 ? { reason: reason(-done), errno: -done } : undefined;
    answer({ done, bytes, failure }, bytes === undefined ? [] : [bytes.buffer]);
    if (task.kind === 'close') port.close();
  });
  answer({ opened: Number(size[0]), writesZeroes: c.rbd_write_zeroes !== undefined });
}

function openPool(c: Record<string, Call>, check: (result: bigint | number, what: string) => void): bigint {
  const { user, conf, pool, namespace } = options;
  const cluster = made((place) =>
    check(c.rados_create(place, user === undefined ? null : text(user)), 'cannot make a client'),
  );
  undo.push(() => c.rados_shutdown(cluster));
  const read = c.rados_conf_read_file(cluster, conf === undefined ? null : text(conf));
  // Without a file of its own a client may be set up by the environment alone.
  if (conf !== undefined) check(read, `cannot read the configuration ${conf}`);
  if (options.direct) check(c.rados_conf_set(cluster, text('rbd_cache'), text('false')), 'cannot turn the cache off');
  check(c.rados_connect(cluster), 'cannot connect to the cluster');
  const context = made((place) =>
    check(c.rados_ioctx_create(cluster, text(pool), place), `cannot open the pool '${pool}'`),
  );
  undo.push(() => c.rados_ioctx_destroy(context));
  if (namespace !== undefined) c.rados_ioctx_set_namespace(context, text(namespace));
  return context;
}

function perform(
  c: Record<string, Call>,
  image: bigint,
  task: Exclude<RbdTask, { kind: 'close' }>,
): { done: number; bytes?: Uint8Array<ArrayBuffer> } {
  switch (task.kind) {
    case 'read': {
      const bytes = new Uint8Array(task.length);
      return { done: Number(c.rbd_read(image, BigInt(task.offset), BigInt(task.length), bytes)), bytes };
    }
    case 'write': {
      const done = Number(c.rbd_write(image, BigInt(task.offset), BigInt(task.bytes.length), task.bytes));
      return { done: done >= 0 && done < task.bytes.length ? -EIO : done };
    }
    case 'discard':
      return { done: Number(c.rbd_discard(image, BigInt(task.offset), BigInt(task.length))) };
    case 'zero': {
      const flags = task.mayUnmap ? 0 : KEEP_SPACE;
      return { done: Number(c.rbd_write_zeroes(image, BigInt(task.offset), BigInt(task.length), flags, 0)) };
    }
    case 'flush':
      return { done: Number(c.rbd_flush(image)) };
    case 'resize':
      return { done: Number(c.rbd_resize(image, BigInt(task.sizeBytes))) };
  }
}

function libraries(ffi: Ffi): Record<string, Call> {
  const { rados, rbd } = options.libraries;
  const load = (path: string, calls: Record<string, Signature>) => {
    try {
      return ffi.dlopen(path, calls).functions as Record<string, Call>;
    } catch (error) {
      throw new Refusal(`rbd needs librados and librbd (Debian's package librbd1): ${(error as Error).message}`);
    }
  };
  const found = { ...load(rados, RADOS), ...load(rbd, RBD) };
  try {
    return { ...found, ...(ffi.dlopen(rbd, WRITE_ZEROES).functions as Record<string, Call>) };
  } catch {
    return found;
  }
}

/** What the C library says of an error number. */
function reasons(ffi: Ffi): (errno: number) => string {
  const { functions } = ffi.dlopen(null, { __xpg_strerror_r: plain('int32', 'pointer', 'uint64') });
  return (errno) => {
    const buffer = new Uint8Array(256);
    functions.__xpg_strerror_r(errno, buffer, BigInt(buffer.length));
    return new TextDecoder().decode(buffer.subarray(0, buffer.indexOf(0))) || `error ${errno}`;
  };
}

/** The handle that a call makes. */
function made(make: (place: Uint8Array) => void): bigint {
  const handle = new BigUint64Array(1);
  make(bytesOf(handle));
  return handle[0];
}

function bytesOf({ buffer }: BigUint64Array<ArrayBuffer>): Uint8Array {
  return new Uint8Array(buffer);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(`${value}\0`);
}

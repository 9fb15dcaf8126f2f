/** Extended attributes through fids: those of users only, because the others grant rights on the host. */
import { ERRNO, FileError } from '../../../base/index.ts';
import type { AttributeAccess, Fid } from './handles.ts';
import type { Tree } from './tree.ts';

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h. */
const VALUE_BYTES_MAX = 65_536;
const NAME_BYTES_MAX = 255;
const PREFIX = 'user.';
/** XATTR_CREATE and XATTR_REPLACE. */
const RULES = ['any', 'create', 'replace'] as const;

export function readAttribute(tree: Tree, { handle }: Fid, name: string): AttributeAccess {
  checkName(tree, name);
  return { kind: 'read', value: handle.node.attribute(name, VALUE_BYTES_MAX) };
}

export function listAttributes(tree: Tree, { handle }: Fid): AttributeAccess {
  const names = handle.node.attributeNames(VALUE_BYTES_MAX).filter((name) => isShown(tree, name));
  const text = names.map((name) => `${name}\0`).join('');
  return { kind: 'read', value: Uint8Array.from(text, (character) => character.charCodeAt(0)) };
}

export function beginAttribute(tree: Tree, name: string, sizeBytes: number, flags: number): AttributeAccess {
  tree.mayWrite();
  checkName(tree, name);
  const rule = RULES[flags];
  if (rule === undefined) throw new FileError(ERRNO.invalid);
  if (sizeBytes > VALUE_BYTES_MAX) throw new FileError(ERRNO.noSpace);
  return { kind: 'write', name, value: new Uint8Array(sizeBytes), rule, written: 0 };
}

export function writeAttribute(access: AttributeAccess, offset: number, bytes: Uint8Array): void {
  if (access.kind !== 'write') throw new FileError(ERRNO.badDescriptor);
  if (offset + bytes.length > access.value.length) throw new FileError(ERRNO.noSpace);
  access.value.set(bytes, offset);
  access.written = Math.max(access.written, offset + bytes.length);
}

/** What was written takes effect when the fid is given up. */
export function endAttribute({ handle, attribute }: Fid): void {
  if (attribute?.kind !== 'write') return;
  const { name, value, rule, written } = attribute;
  if (written < value.length) throw new FileError(ERRNO.invalid);
  // Linux's client removes an attribute by replacing it with nothing.
  if (value.length === 0 && rule === 'replace') handle.node.removeAttribute(name);
  else handle.node.setAttribute(name, value, rule);
}

function isShown(tree: Tree, name: string): boolean {
  return name.startsWith(PREFIX) && !tree.security.isOwnAttribute(name);
}

function checkName(tree: Tree, name: string): void {
  if (name.length > NAME_BYTES_MAX) throw new FileError(ERRNO.range);
  if (name.includes('\0') || !isShown(tree, name)) throw new FileError(ERRNO.notSupported);
}

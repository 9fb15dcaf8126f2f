/** How a differencing disk finds its parent (VHD specification, "Parent Locator Table"). */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { joinBytes } from '../layout.ts';
import { alignUp } from '../request.ts';
import { LOCATOR, LOCATORS, locatorLayout, type VhdDynamic } from './layout.ts';

const NAME_MAX_BYTES = 32_768;

/** The parent's name as the disk has it, with `/` between folders; that which is relative to the disk before others. */
export async function parentName(file: BlockNode, dynamic: VhdDynamic, name: string): Promise<string> {
  for (const wanted of [LOCATOR.relative, LOCATOR.absolute]) {
    for (let i = 0; i < LOCATORS; i += 1) {
      const { code, length, offset } = locatorLayout.read(dynamic.locators, i * locatorLayout.size);
      if (code !== wanted) continue;
      if (length > NAME_MAX_BYTES || length % 2 !== 0 || offset + length > file.sizeBytes)
        throw new UserError(`${name}: not a usable VHD image: its parent locator has ${length} bytes at ${offset}`);
      const bytes = new Uint8Array(length);
      await file.read(offset, bytes);
      const text = decodeUtf16(bytes, true);
      if (text !== '') return plainName(text);
    }
  }
  const text = decodeUtf16(dynamic.parentName, false);
  if (text === '') throw new UserError(`${name}: not a usable VHD image: it has a parent and does not name it`);
  return plainName(text);
}

function plainName(text: string): string {
  return text.replaceAll('\\', '/').replace(/^(?:\.\/)+/, '');
}

function decodeUtf16(bytes: Uint8Array, littleEndian: boolean): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let text = '';
  for (let at = 0; at + 1 < bytes.length; at += 2) {
    const code = view.getUint16(at, littleEndian);
    if (code === 0) break;
    text += String.fromCharCode(code);
  }
  return text;
}

function encodeUtf16(text: string, littleEndian: boolean): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length * 2);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < text.length; i += 1) view.setUint16(i * 2, text.charCodeAt(i), littleEndian);
  return bytes;
}

export interface ParentName {
  /** The fields of the dynamic header. */
  readonly parentName: Uint8Array;
  readonly locators: Uint8Array;
  /** What lies at `offset` of the file: whole sectors. */
  readonly data: Uint8Array;
}

/** What names the parent: relative unless the name begins with a slash. */
export function encodeParent(filename: string, offset: number): ParentName {
  const isAbsolute = filename.startsWith('/') || /^[a-z]:/i.test(filename);
  const text = filename.replaceAll('/', '\\');
  const path = encodeUtf16(isAbsolute ? text : `.\\${text}`, true);
  const own = encodeUtf16(filename.slice(filename.lastIndexOf('/') + 1), false);
  if (path.length > NAME_MAX_BYTES) throw new UserError('the name of the backing file is too long for a VHD image');
  const space = alignUp(path.length, 512);
  const locator = locatorLayout.write({
    code: isAbsolute ? LOCATOR.absolute : LOCATOR.relative,
    space,
    length: path.length,
    reserved: 0,
    offset,
  });
  return {
    parentName: joinBytes([own.subarray(0, 510)], 512),
    locators: joinBytes([locator], LOCATORS * locatorLayout.size),
    data: joinBytes([path], space),
  };
}

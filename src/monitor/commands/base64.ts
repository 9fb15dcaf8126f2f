/** Base64 (RFC 4648, section 4), with what every host has. */
import { QmpError } from '../qmp/errors.ts';

export function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

export function bytesOfBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    throw new QmpError('Base64 data is malformed');
  }
}

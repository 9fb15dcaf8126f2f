/** JSON text as QEMU writes it: a space after every comma and colon, ASCII only, big integers in full. */

export function encodeJson(value: unknown, pretty = false): string {
  return encode(value, pretty ? '\n' : '');
}

/** @param newline What begins a new line at this depth, or '' for one line. */
function encode(value: unknown, newline: string): string {
  if (typeof value === 'bigint') return value.toString();
  if (Array.isArray(value)) return list('[', ']', value, newline, (element, inner) => encode(element, inner));
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    return list(
      '{',
      '}',
      members,
      newline,
      ([name, member], inner) => `${encodeString(name)}: ${encode(member, inner)}`,
    );
  }
  return typeof value === 'string' ? encodeString(value) : JSON.stringify(value ?? null);
}

function list<T>(
  open: string,
  close: string,
  elements: readonly T[],
  newline: string,
  print: (element: T, inner: string) => string,
): string {
  const inner = newline === '' ? '' : `${newline}    `;
  const separator = newline === '' ? ', ' : ',';
  const text = elements.map((element) => inner + print(element, inner)).join(separator);
  return `${open}${text}${elements.length > 0 ? newline : ''}${close}`;
}

function encodeString(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

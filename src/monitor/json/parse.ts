/** JSON as QEMU reads it: RFC 8259, and strings in single quotes too. Integers that a number cannot hold become bigint. */

/** Text that is no JSON value; the message is for the client. */
export class JsonError extends Error {
  override name = 'JsonError';
}

const WORDS: Readonly<Record<string, unknown>> = { true: true, false: false, null: null };
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const WORD = /[a-zA-Z]\w*/y;
const SPACE = /[ \t\r\n]*/y;

export interface ParseOptions {
  readonly depthMax: number;
}

/** @throws JsonError */
export function parseJson(text: string, { depthMax }: ParseOptions = { depthMax: 1024 }): unknown {
  let at = 0;
  const fail = (what: string): never => {
    throw new JsonError(`JSON parse error, ${what}`);
  };
  const skipSpace = () => {
    SPACE.lastIndex = at;
    SPACE.test(text);
    at = SPACE.lastIndex;
  };
  const match = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text) ?? undefined;
    if (found !== undefined) at += found[0].length;
    return found;
  };
  const take = (character: string): boolean => {
    skipSpace();
    if (text[at] !== character) return false;
    at += 1;
    return true;
  };
  const readString = (quote: string): string => {
    let value = '';
    for (at += 1; ; at += 1) {
      const character = text[at];
      if (character === undefined) fail('unterminated string');
      if (character === quote) break;
      if (character < ' ') fail('control character in string');
      if (character !== '\\') {
        value += character;
        continue;
      }
      at += 1;
      const escaped = text[at];
      if (escaped === 'u') {
        const code = /^[\da-fA-F]{4}$/.exec(text.slice(at + 1, at + 5))?.[0] ?? fail('invalid hex escape in string');
        value += String.fromCharCode(Number.parseInt(code, 16));
        at += 4;
      } else value += ESCAPES[escaped] ?? fail(`invalid escape sequence '\\${escaped ?? ''}' in string`);
    }
    at += 1;
    return value;
  };
  const readList = <T>(end: string, read: () => T): T[] => {
    at += 1;
    const list: T[] = [];
    if (take(end)) return list;
    for (;;) {
      list.push(read());
      if (take(end)) return list;
      if (!take(',')) fail('expected separator in list or object');
    }
  };
  const readValue = (depth: number): unknown => {
    skipSpace();
    const first = text[at];
    if (depth > depthMax) fail('nesting too deep');
    if (first === '{') {
      const members = readList('}', () => {
        skipSpace();
        if (text[at] !== '"' && text[at] !== "'") fail('key is not a string in object');
        const key = readString(text[at]);
        if (!take(':')) fail('missing : in object pair');
        return [key, readValue(depth + 1)] as const;
      });
      const object = Object.fromEntries(members);
      if (Object.keys(object).length < members.length) fail('duplicate key');
      return object;
    }
    if (first === '[') return readList(']', () => readValue(depth + 1));
    if (first === '"' || first === "'") return readString(first);
    const number = match(NUMBER);
    if (number !== undefined) return numberOf(number);
    const word = match(WORD)?.[0];
    if (word === undefined) return fail('expecting value');
    return Object.hasOwn(WORDS, word) ? WORDS[word] : fail(`invalid keyword '${word.slice(0, 40)}'`);
  };
  const value = readValue(0);
  skipSpace();
  if (at < text.length) fail(`stray '${text.slice(at, at + 20)}'`);
  return value;
}

function numberOf([text, fraction, exponent]: RegExpExecArray): number | bigint {
  const value = Number(text);
  return fraction === undefined && exponent === undefined && !Number.isSafeInteger(value) ? BigInt(text) : value;
}

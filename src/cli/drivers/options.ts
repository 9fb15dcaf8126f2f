/** Options of drivers as qemu-img takes them: keys and values, those of a child with dots. */
import { UserError } from '../../base/index.ts';

/** E.g. `driver`, `file.driver`, `file.filename`. */
export type DriverOptions = Map<string, string>;

/** Takes an option out. */
export function take(options: DriverOptions, key: string): string | undefined {
  const value = options.get(key);
  options.delete(key);
  return value;
}

/** Takes all options of a child out; undefined when there are none. */
export function takeChild(options: DriverOptions, child: string): DriverOptions | undefined {
  const prefix = `${child}.`;
  const found: DriverOptions = new Map();
  for (const [key, value] of [...options]) {
    if (!key.startsWith(prefix)) continue;
    found.set(key.slice(prefix.length), value);
    options.delete(key);
  }
  return found.size === 0 ? undefined : found;
}

/** Refuses what nobody has taken. `name` is the image's. */
export function refuseRest(options: DriverOptions, name: string): void {
  const [unknown] = options.keys();
  if (unknown !== undefined) throw new UserError(`${name}: option '${unknown}' is not known`);
}

/** `a=1,b=2` with `,,` for a comma in a value; an option without `=` is `on`. */
export function parseKeyValues(text: string): Map<string, string> {
  const parts: string[] = [''];
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] !== ',') parts[parts.length - 1] += text[i];
    else if (text[i + 1] === ',') parts[parts.length - 1] += text[i++];
    else parts.push('');
  }
  return new Map(
    parts
      .filter((part) => part !== '')
      .map((part) => {
        const at = part.indexOf('=');
        return at < 0 ? [part, 'on'] : [part.slice(0, at), part.slice(at + 1)];
      }),
  );
}

/** What the guest's programs say on the console, one line each (guest/main.c, guest-image.ts). */

export type GuestEvent =
  /** The kernel's first program runs. */
  | { readonly kind: 'init' }
  | { readonly kind: 'begin'; readonly kernel: string }
  /** `nanos` by the guest's clock; `result` in hexadecimal, the same on every correct CPU. */
  | { readonly kind: 'end'; readonly kernel: string; readonly nanos: number; readonly result: string }
  | { readonly kind: 'failed'; readonly kernel: string; readonly exitCode: number }
  | { readonly kind: 'idle-begin' }
  | { readonly kind: 'idle-end' }
  /** All free memory of the guest is touched. */
  | { readonly kind: 'filled' }
  /** The last line, before the guest powers off. */
  | { readonly kind: 'done' };

/** An event, or undefined for a line that is not of ours. */
export function parseLine(line: string): GuestEvent | undefined {
  const [, text] = /^bench (.*?)\s*$/.exec(line) ?? [];
  if (text === undefined) return undefined;
  const [, kernel, third, result] = text.split(' ');
  if (text === 'done' || text === 'init' || text === 'idle-begin' || text === 'idle-end' || text === 'filled')
    return { kind: text };
  if (/^begin [\w-]+$/.test(text)) return { kind: 'begin', kernel };
  if (/^end [\w-]+ \d+ [\da-f]+$/.test(text)) return { kind: 'end', kernel, nanos: Number(third), result };
  if (/^failed [\w-]+ \d+$/.test(text)) return { kind: 'failed', kernel, exitCode: Number(third) };
  return undefined;
}

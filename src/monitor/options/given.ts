/** The options of a command line by their names. */
import type { CommandLine, GivenOption } from './command-line.ts';
import { forOption } from './command-line.ts';
import { ParamReader } from './opts.ts';
import type { OptionName } from './table.ts';

/** Options by name, those that merge as one list of parameters. */
export class Given {
  readonly #options: readonly GivenOption[];

  constructor({ options }: CommandLine) {
    this.#options = options;
  }

  all(...names: readonly OptionName[]): GivenOption[] {
    return this.#options.filter(({ name }) => names.includes(name));
  }

  has(name: OptionName): boolean {
    return this.#options.some((option) => option.name === name);
  }

  value(name: OptionName): string | undefined {
    return this.all(name).at(-1)?.value;
  }

  /** The parameters of every option of this name, read as one. */
  merged<T>(name: OptionName, read: (params: ParamReader) => T): T {
    const options = this.all(name);
    const written = options.at(-1)?.written ?? `-${name}`;
    return forOption({ written }, () => read(new ParamReader(options.flatMap(({ params }) => params))));
  }
}

export function forEachOption(options: readonly GivenOption[], work: (option: GivenOption) => void): void {
  for (const option of options) forOption(option, () => work(option));
}

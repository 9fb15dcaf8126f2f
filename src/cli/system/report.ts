/** Messages of the emulator: to standard error, or to the file of -D. */
import { appendFileSync } from 'node:fs';

export const PROGRAM = 'vireo-system-x86_64';

export interface Reporter {
  error(message: string): void;
  warning(message: string): void;
  /** For the log alone. */
  log(message: string): void;
}

/** @param logFile gets everything that is not said to a person at the start */
export function reporter(timestamps: boolean, logFile?: string): Reporter {
  const write = (message: string) => {
    const time = timestamps ? `${new Date().toISOString().replace(/Z$/, '000Z')} ` : '';
    return `${time}${PROGRAM}: ${message}\n`;
  };
  const say = (message: string) => {
    process.stderr.write(write(message));
  };
  return {
    error: say,
    warning: (message) => say(`warning: ${message}`),
    log(message) {
      if (logFile === undefined) say(message);
      else appendFileSync(logFile, write(message));
    },
  };
}

/** Runs vireo-img command lines that a test sends, one after the other, in one process: faster than one each. */
import { runImg } from '../program.ts';

export interface ImgOutcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

process.on('message', async ({ cwd, args }: { cwd: string; args: string[] }) => {
  const texts = { stdout: '', stderr: '' };
  process.chdir(cwd);
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = (text: unknown) => {
      texts[name] += String(text);
      return true;
    };
  }
  const outcome: ImgOutcome = { status: await runImg(args), ...texts };
  process.send!(outcome);
});

/** Network namespaces of the host's and its tap devices, for tests that need them. */
import { spawnSync } from 'node:child_process';
import { openTap } from '../../host/node/index.ts';

/** Why there are none here, or false. */
export function whyNoNamespaces(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  const name = `vireo-${process.pid}-try`;
  if (spawnSync('ip', ['netns', 'add', name]).status !== 0) return 'network namespaces cannot be made';
  spawnSync('ip', ['netns', 'del', name]);
  try {
    void openTap().close();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}

/** What a profiled machine's thread runs: a machine with a sampler on its CPU, whose counts go to a file at the end. */
import { randomFillSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createTcg, type TcgOptions } from '../src/accel/index.ts';
import type { ThreadContext, VcpuEnvironment } from '../src/contract/index.ts';
import { nodeSockets } from '../src/host/node/index.ts';
import { serveMachine } from '../src/machine/index.ts';
import { parseLine } from './console-lines.ts';
import { attachSampler } from './profile-sampler.ts';
import { renderProfile, Section } from './profile-samples.ts';

/** What the machine's thread says, as far as it matters here. */
type Message = { kind: 'serial-output'; port: number; bytes: Uint8Array } | { kind: 'exited' };

export function serve(context: ThreadContext): void {
  const outside = new Section('boot and between kernels');
  const sections = [outside];
  let current = outside;
  let line = '';
  const readConsole = (bytes: Uint8Array) => {
    const lines = (line + Buffer.from(bytes).toString('latin1')).split('\n');
    line = lines.pop() ?? '';
    for (const event of lines.map((text) => parseLine(text))) {
      if (event?.kind === 'begin') sections.push((current = new Section(event.kernel)));
      else if (event?.kind === 'end' || event?.kind === 'failed') current = outside;
    }
  };
  const watched: ThreadContext = {
    ...context,
    post(data, transfer) {
      const message = data as Message;
      if (message.kind === 'serial-output' && message.port === 0) readConsole(message.bytes);
      if (message.kind === 'exited') writeFileSync(outputPath(), renderProfile(sections));
      context.post(data, transfer);
    },
  };
  const createAccelerator = async (options: TcgOptions) => {
    const accelerator = await createTcg({ ...options, tier: 'interpreter' });
    return {
      memory: accelerator.memory,
      createVcpu(environment: VcpuEnvironment) {
        const vcpu = accelerator.createVcpu(environment);
        attachSampler(vcpu, (block) => current.add(block));
        return vcpu;
      },
    };
  };
  const none = () => Promise.reject(new Error('a profiled machine has no disks and networks'));
  serveMachine(watched, createAccelerator, {
    openDisk: none,
    openNetwork: none,
    openShare: none,
    sockets: nodeSockets,
    fillRandom: (target) => randomFillSync(target),
  });
}

/** The starter appends it to this module's URL. */
function outputPath(): string {
  const path = new URL(import.meta.url).searchParams.get('output');
  if (path === null) throw new Error('profile-thread.ts needs ?output=PATH in its URL');
  return path;
}

/** Files and host devices as a protocol: `driver=file,filename=NAME`. */
import { UserError } from '../../base/index.ts';
import { openFileNode } from '../../host/node/block.ts';
import { take } from './options.ts';
import type { Protocol } from './registry.ts';

export const fileProtocol: Protocol = {
  name: 'file',
  open(options, how) {
    const filename = take(options, 'filename');
    if (filename === undefined) throw new UserError('a file name is missing: file.filename=NAME');
    const isOn = (key: string) => {
      const text = take(options, key);
      if (text !== undefined && text !== 'on' && text !== 'off' && text !== 'auto') {
        throw new UserError(`Parameter '${key}' expects 'on' or 'off'`);
      }
      return text === undefined || text === 'auto' ? undefined : text === 'on';
    };
    take(options, 'aio');
    const { cache } = how;
    return openFileNode(filename, {
      readOnly: how.readOnly || isOn('read-only') === true,
      io: how.io,
      lock: isOn('locking') ?? how.lock,
      flushes: (isOn('cache.no-flush') ?? cache.noFlush) ? 'ignore' : 'honour',
      direct: isOn('cache.direct') ?? cache.direct,
      writeThrough: cache.writeThrough,
    });
  },
};

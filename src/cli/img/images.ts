/** What commands that open images share. */
import { cacheModeNamed } from '../drivers/cache.ts';
import { parseObjects } from '../drivers/objects.ts';
import { type OpenedImage, type OpenImageOptions, openImage } from '../drivers/open.ts';
import type { Arguments } from './arguments.ts';

export { filenameOf, type OpenedImage, type OpenImageOptions, openImage, resolveName } from '../drivers/open.ts';
export { formatDriverNamed } from '../drivers/registry.ts';

/** Options of commands that open one image. */
export function openOptions(args: Arguments): OpenImageOptions {
  const format = args.get('f');
  const imageOpts = args.has('image-opts');
  const cache = cacheModeNamed(args.get('t') ?? args.get('T') ?? 'writeback');
  const objects = parseObjects(args.all('object'));
  return { ...(format === undefined ? {} : { format }), forceShare: args.has('U'), imageOpts, cache, objects };
}

/** Opens an image, does something with it, and closes it in any case. */
export async function withImage<T>(
  name: string,
  options: OpenImageOptions,
  body: (image: OpenedImage) => Promise<T>,
): Promise<T> {
  const image = await openImage(name, options);
  try {
    return await body(image);
  } finally {
    await image.node.close();
  }
}

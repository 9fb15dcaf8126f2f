/** The value of `--share`: `FOLDER[:TAG][,readonly][,security_model=MODEL]`; a comma in a name is written twice. */
import { resolve } from 'node:path';
import { SECURITY_MODELS, type SecurityModelName } from '../hw/names.ts';
import type { ShareOptions } from '../machine/index.ts';
import { splitCommas, suggestion, UsageError } from './options.ts';

export const SHARE_VALUE = 'DIR[:TAG][,readonly,security_model=none|mapped-xattr|mapped-file]';

const NAMES = ['readonly', 'security_model'];

/**
 * Tags that are not given are `share`, `share1` and so on.
 * @throws UsageError that names what is wrong
 */
export function parseShares(texts: readonly string[]): ShareOptions[] {
  return texts.map((text, index) => parseShare(text, index === 0 ? 'share' : `share${index}`));
}

function parseShare(text: string, defaultTag: string): ShareOptions {
  const [place, ...settings] = splitCommas(text);
  const [, folder, tag = defaultTag] = /^(.+?)(?::([\w.-]+))?$/s.exec(place) ?? [];
  if (folder === undefined)
    throw new UsageError(`--share ${text}: the folder comes first, as in --share ${SHARE_VALUE}`);
  let [readOnly, security]: [boolean, SecurityModelName] = [false, 'none'];
  for (const setting of settings) {
    const [, name, , value] = /^([^=]*)(=(.*))?$/s.exec(setting) ?? [];
    if (name === 'readonly' && value === undefined) readOnly = true;
    else if (name === 'security_model' && value !== undefined) security = checkedModel(value);
    else throw new UsageError(`--share: unknown setting "${setting}"${suggestion(name, NAMES)}`);
  }
  return { folder: resolve(folder), tag, readOnly, security };
}

function checkedModel(name: string): SecurityModelName {
  const model = SECURITY_MODELS.find((one) => one === name);
  if (model !== undefined) return model;
  throw new UsageError(`--share: there is no security model ${name}, only ${SECURITY_MODELS.join(', ')}`);
}

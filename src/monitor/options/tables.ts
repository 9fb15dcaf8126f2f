/** What the guest's firmware tells it: -fw_cfg, -smbios, -acpitable. */
import { UserError } from '../../base/index.ts';
import { SMBIOS_FIELDS } from '../../hw/index.ts';
import type { GivenOption } from './command-line.ts';
import { forOption } from './command-line.ts';
import type { AcpiTableConfig, FwCfgConfig, SmbiosConfig } from './config.ts';
import { ParamReader, type Params } from './opts.ts';

export function readFwCfg(params: Params): FwCfgConfig {
  const reader = new ParamReader(params);
  const name = reader.required('name');
  const [file, text] = [reader.text('file'), reader.text('string')];
  if ((file === undefined) === (text === undefined)) throw new UserError("one of 'file' and 'string' is needed");
  return { name, content: file === undefined ? { text: text! } : { file } };
}

/** All -smbios options together; of two that set the same field, the last counts. */
export function readSmbios(options: readonly Pick<GivenOption, 'written' | 'params'>[]): SmbiosConfig {
  const fields: Record<number, Record<string, string>> = {};
  const oemStrings: string[] = [];
  const files: string[] = [];
  for (const option of options) {
    forOption(option, () => {
      const reader = new ParamReader(option.params);
      const file = reader.text('file');
      if (file !== undefined) {
        reader.finish();
        files.push(file);
        return;
      }
      const type = reader.number('type');
      if (type === undefined || !Object.hasOwn(SMBIOS_FIELDS, type)) {
        const known = Object.keys(SMBIOS_FIELDS).join(', ');
        throw new UserError(
          `Don't know how to build fields for SMBIOS type ${type ?? 'that was not given'}: ${known} work`,
        );
      }
      if (type === 11) oemStrings.push(...reader.all('value'));
      for (const name of SMBIOS_FIELDS[type]) {
        const value = reader.text(name);
        if (value !== undefined && type !== 11) fields[type] = { ...fields[type], [name]: value };
      }
      reader.finish();
    });
  }
  return { fields, oemStrings, files };
}

export function readAcpiTable(params: Params): AcpiTableConfig {
  const reader = new ParamReader(params);
  const [file, data] = [reader.text('file'), reader.text('data')];
  if ((file === undefined) === (data === undefined))
    throw new UserError("'-acpitable' requires one of 'data' or 'file'");
  const text = {
    sig: reader.text('sig'),
    rev: reader.number('rev'),
    oemId: reader.text('oem_id'),
    oemTableId: reader.text('oem_table_id'),
    oemRev: reader.number('oem_rev'),
    aslCompilerId: reader.text('asl_compiler_id'),
    aslCompilerRev: reader.number('asl_compiler_rev'),
  };
  reader.finish();
  return { files: (file ?? data!).split(':'), isWhole: file !== undefined, text };
}

/** The reference page: every command, event and option, from the tables. */
import { optionTable } from '../options/table.ts';
import type { Members, ObjectType, Schema, Type } from './types.ts';

/** What a type is called on the page. */
function nameOf(type: Type): string {
  switch (type.kind) {
    case 'builtin':
      return type.name;
    case 'array':
      return `list of ${nameOf(type.element)}`;
    case 'enum':
      return `one of ${type.values.map((value) => `\`${value}\``).join(', ')}`;
    case 'alternate':
      return type.choices.map(nameOf).join(' or ');
    case 'object':
      return type.name === '' || Object.keys(type.members).length === 0 ? 'nothing' : type.name;
  }
}

function memberRows(members: Members): string[] {
  return Object.entries(members).map(([name, { type, optional, doc }]) => {
    return `- \`${name}\`${optional ? ' (optional)' : ''}: ${nameOf(type)}${doc === '' ? '' : `; ${doc}`}`;
  });
}

/** What else a union takes, by its tag. */
function variantRows({ variants }: ObjectType): string[] {
  if (variants === undefined) return [];
  return Object.entries(variants.cases).flatMap(([value, { members }]) => {
    const names = Object.keys(members).map((name) => `\`${name}\``);
    return names.length === 0 ? [] : [`- with \`${variants.tag}\` = \`${value}\`: ${names.join(', ')}`];
  });
}

/** Object types with a name that commands take or return, each once, in the order in which they are met. */
function namedTypes({ commands }: Schema): ObjectType[] {
  const found = new Map<string, ObjectType>();
  const visit = (type: Type) => {
    if (type.kind === 'array') visit(type.element);
    else if (type.kind === 'alternate') for (const choice of type.choices) visit(choice);
    else if (type.kind === 'object') {
      if (type.name !== '' && Object.keys(type.members).length > 0) {
        if (found.has(type.name)) return;
        found.set(type.name, type);
      }
      for (const member of Object.values(type.members)) visit(member.type);
      for (const variant of Object.values(type.variants?.cases ?? {})) visit(variant);
    }
  };
  for (const { args, returns } of Object.values(commands)) {
    visit(args);
    visit(returns);
  }
  return [...found.values()];
}

/** In Markdown. */
export function referencePage({ commands, events }: Schema): string {
  const lines = [
    '# Reference of vireo-system-x86_64',
    '',
    'Made from the tables in src/monitor by `node scripts/qemu-reference.ts`; do not edit.',
    '',
    '## QMP commands',
  ];
  for (const [name, { doc, args, returns, since }] of Object.entries(commands)) {
    lines.push('', `### ${name}`, '', `${doc} Since QEMU ${since}.`);
    const rows = [...memberRows(args.members), ...variantRows(args)];
    if (rows.length > 0) lines.push('', ...rows);
    const returned = nameOf(returns);
    if (returned !== 'nothing') lines.push('', `Returns: ${returned}.`);
  }
  lines.push('', '## QMP events');
  for (const [name, { doc, data, since }] of Object.entries(events)) {
    lines.push('', `### ${name}`, '', `${doc} Since QEMU ${since}.`);
    const rows = memberRows(data.members);
    if (rows.length > 0) lines.push('', ...rows);
  }
  lines.push('', '## Types');
  for (const type of namedTypes({ commands, events })) {
    lines.push('', `### ${type.name}`, '', ...(type.doc ? [type.doc, ''] : []));
    lines.push(...memberRows(type.members), ...variantRows(type));
  }
  lines.push('', '## Options');
  for (const [name, { value, help, aliases = [], params }] of Object.entries(optionTable)) {
    const forms = [name, ...aliases].map((one) => `-${one}`).join(', ');
    lines.push('', `### ${forms}${value === undefined ? '' : ` ${value}`}`, '', help);
    const rows = Object.entries(params ?? {}).map(([key, spec]) => `- \`${key}\`: ${spec.type}; ${spec.help ?? ''}`);
    if (rows.length > 0) lines.push('', ...rows);
  }
  return `${lines.join('\n')}\n`;
}

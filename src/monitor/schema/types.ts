/**
 * The language of the monitor's schema: types, commands and events as values.
 * Validation, introspection, the reference page and the handlers' TypeScript
 * types all come from the same tables (see ../qapi).
 */

/** What a type says about itself besides its shape. */
interface Described<T> {
  readonly doc?: string;
  /** Never set: carries the TypeScript type. */
  readonly infer?: T;
}

export type BuiltinName =
  | 'str'
  | 'bool'
  | 'number'
  | 'int'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'size'
  | 'null'
  | 'any';

export interface BuiltinType<T = unknown> extends Described<T> {
  readonly kind: 'builtin';
  readonly name: BuiltinName;
}
export interface EnumType<T = unknown> extends Described<T> {
  readonly kind: 'enum';
  readonly name: string;
  readonly values: readonly string[];
}
export interface ArrayType<T = unknown> extends Described<T> {
  readonly kind: 'array';
  readonly element: Type;
}
export interface ObjectType<T = unknown> extends Described<T> {
  readonly kind: 'object';
  readonly name: string;
  readonly members: Members;
  /** A union: the member that chooses, and what each of its values adds. */
  /** Takes members that are not listed, which who takes them checks. */
  readonly open?: true;
  readonly variants?: { readonly tag: string; readonly cases: Readonly<Record<string, ObjectType>> };
}
export interface AlternateType<T = unknown> extends Described<T> {
  readonly kind: 'alternate';
  readonly name: string;
  readonly choices: readonly Type[];
}
export type Type<T = unknown> = BuiltinType<T> | EnumType<T> | ArrayType<T> | ObjectType<T> | AlternateType<T>;

export interface Member<T = unknown, IsOptional extends boolean = boolean> {
  readonly type: Type<T>;
  readonly optional: IsOptional;
  readonly doc: string;
  readonly features?: readonly string[];
}
export type Members = Readonly<Record<string, Member>>;

/** The TypeScript type of a schema type. */
export type Infer<S> = S extends { readonly infer?: infer T } ? T : never;
type MemberValue<M> = M extends Member<infer T, boolean> ? T : never;
type RequiredNames<M extends Members> = {
  [Name in keyof M]: M[Name] extends Member<unknown, false> ? Name : never;
}[keyof M];
/** The TypeScript type of an object with these members. */
export type InferMembers<M extends Members> = { readonly [Name in RequiredNames<M>]: MemberValue<M[Name]> } & {
  readonly [Name in Exclude<keyof M, RequiredNames<M>>]?: MemberValue<M[Name]>;
};

const builtin = <T>(name: BuiltinName): BuiltinType<T> => ({ kind: 'builtin', name });

export const str = builtin<string>('str');
export const bool = builtin<boolean>('bool');
export const num = builtin<number>('number');
/** Whole numbers; beyond 2^53 they arrive as bigint and are refused or rounded by who takes them. */
export const int = builtin<number>('int');
export const uint8 = builtin<number>('uint8');
export const uint16 = builtin<number>('uint16');
export const uint32 = builtin<number>('uint32');
export const uint64 = builtin<number>('uint64');
export const size = builtin<number>('size');
export const nil = builtin<null>('null');
export const any = builtin<unknown>('any');

export function enumOf<const V extends readonly string[]>(name: string, doc: string, values: V): EnumType<V[number]> {
  return { kind: 'enum', name, doc, values };
}

export function arrayOf<S extends Type>(element: S): ArrayType<readonly Infer<S>[]> {
  return { kind: 'array', element };
}

export function struct<const M extends Members>(name: string, doc: string, members: M): ObjectType<InferMembers<M>> {
  return { kind: 'object', name, doc, members };
}

/** The object with no members at all. */
export const empty: ObjectType<Readonly<Record<never, never>>> = { kind: 'object', name: 'q_empty', members: {} };

/** A union: base members, one of which (an enum) chooses what else there is. */
export function union<
  const M extends Members,
  const Tag extends keyof M & string,
  const C extends Readonly<Record<string, ObjectType>>,
>(
  name: string,
  doc: string,
  members: M,
  tag: Tag,
  cases: C,
): ObjectType<
  {
    [Case in keyof C & string]: Omit<InferMembers<M>, Tag> & { readonly [K in Tag]: Case } & Infer<C[Case]>;
  }[keyof C & string]
> {
  return { kind: 'object', name, doc, members, variants: { tag, cases } };
}

export function alternate<const S extends readonly Type[]>(
  name: string,
  doc: string,
  choices: S,
): AlternateType<Infer<S[number]>> {
  return { kind: 'alternate', name, doc, choices };
}

export function field<T>(type: Type<T>, doc = '', features?: readonly string[]): Member<T, false> {
  return { type, optional: false, doc, features };
}

export function optional<T>(type: Type<T>, doc = '', features?: readonly string[]): Member<T, true> {
  return { type, optional: true, doc, features };
}

/** What is sent and what comes back, for the reference page and as a test. */
export interface Example {
  readonly arguments?: unknown;
  /** Absent: the reply depends on the machine, and only its type is checked. */
  readonly returns?: unknown;
}

/** One QMP command. */
export interface Command<A = unknown, R = unknown> {
  readonly doc: string;
  readonly args: ObjectType<A>;
  readonly returns: Type<R>;
  /** QEMU's first version with the command, which is what clients ask. */
  readonly since: string;
  readonly features?: readonly string[];
  /** May be sent as exec-oob. */
  readonly outOfBand?: true;
  readonly examples: readonly Example[];
}

interface CommandSpec<M extends Members, R> {
  readonly doc: string;
  readonly args?: M;
  readonly returns?: Type<R>;
  readonly since: string;
  readonly features?: readonly string[];
  readonly outOfBand?: true;
  /** Takes arguments that are not listed. */
  readonly open?: true;
  readonly examples: readonly Example[];
}

export function command<const M extends Members = Record<never, never>, R = Infer<typeof empty>>(
  spec: CommandSpec<M, R>,
): Command<InferMembers<M>, R> {
  const { args, returns, open, ...rest } = spec;
  return {
    ...rest,
    args: { kind: 'object', name: '', members: args ?? {}, open },
    returns: returns ?? (empty as unknown as Type<R>),
  };
}

/** A command whose arguments are a named type, a union for instance. */
export function commandOf<A, R = Infer<typeof empty>>(
  args: ObjectType<A>,
  spec: Omit<CommandSpec<Members, R>, 'args'>,
): Command<A, R> {
  const { returns, ...rest } = spec;
  return { ...rest, args, returns: returns ?? (empty as unknown as Type<R>) };
}

export type Commands = Readonly<Record<string, Command>>;
export type ArgumentsOf<C> = C extends Command<infer A, unknown> ? A : never;
export type ReturnOf<C> = C extends Command<unknown, infer R> ? R : never;

/** One asynchronous event. */
export interface Event<D = unknown> {
  readonly doc: string;
  readonly data: ObjectType<D>;
  readonly since: string;
  /** Events of the same kind within this time are merged into the last one; QEMU's limit is a second. */
  readonly rateLimitNanos?: number;
}

export function event<const M extends Members = Record<never, never>>(spec: {
  readonly doc: string;
  readonly data?: M;
  readonly since: string;
  readonly rateLimitNanos?: number;
}): Event<InferMembers<M>> {
  const { data, ...rest } = spec;
  return { ...rest, data: { kind: 'object', name: '', members: data ?? {} } };
}

export type Events = Readonly<Record<string, Event>>;
export type DataOf<E> = E extends Event<infer D> ? D : never;

/** Everything that a monitor offers. */
export interface Schema {
  readonly commands: Commands;
  readonly events: Events;
}

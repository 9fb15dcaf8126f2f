/** The MC146818's time registers: from and to milliseconds since 1970. */
import { fromBcd, toBcd } from '../../base/index.ts';

/** The time registers by address; alarms have their own. */
export const TIME_REGISTER = { second: 0, minute: 2, hour: 4, dayOfWeek: 6, day: 7, month: 8, year: 9, century: 0x32 };
export const TIME_REGISTERS: readonly number[] = Object.values(TIME_REGISTER);
const PM = 0x80;

/** How register B says that numbers are written. */
export interface TimeFormat {
  readonly binary: boolean;
  readonly hours24: boolean;
}

export function encodeTime(millis: number, format: TimeFormat): Map<number, number> {
  const date = new Date(millis);
  const year = date.getUTCFullYear();
  const number = (value: number) => (format.binary ? value : toBcd(value));
  return new Map([
    [TIME_REGISTER.second, number(date.getUTCSeconds())],
    [TIME_REGISTER.minute, number(date.getUTCMinutes())],
    [TIME_REGISTER.hour, encodeHour(date.getUTCHours(), format)],
    [TIME_REGISTER.dayOfWeek, number(date.getUTCDay() + 1)],
    [TIME_REGISTER.day, number(date.getUTCDate())],
    [TIME_REGISTER.month, number(date.getUTCMonth() + 1)],
    [TIME_REGISTER.year, number(year % 100)],
    [TIME_REGISTER.century, number(Math.trunc(year / 100)) & 0xff],
  ]);
}

/** Whole seconds, in milliseconds; a day or month out of range runs over into the next. */
export function decodeTime(registers: ReadonlyMap<number, number>, format: TimeFormat): number {
  const value = (register: number) => decodeNumber(registers.get(register) ?? 0, format);
  return Date.UTC(
    value(TIME_REGISTER.century) * 100 + value(TIME_REGISTER.year),
    value(TIME_REGISTER.month) - 1,
    value(TIME_REGISTER.day),
    decodeHour(registers.get(TIME_REGISTER.hour) ?? 0, format),
    value(TIME_REGISTER.minute),
    value(TIME_REGISTER.second),
  );
}

export function decodeNumber(value: number, format: TimeFormat): number {
  return format.binary ? value : fromBcd(value);
}

export function decodeHour(value: number, format: TimeFormat): number {
  if (format.hours24) return decodeNumber(value, format);
  const hour = decodeNumber(value & ~PM, format) % 12;
  return value & PM ? hour + 12 : hour;
}

function encodeHour(hour: number, format: TimeFormat): number {
  if (format.hours24) return format.binary ? hour : toBcd(hour);
  const clockHour = hour % 12 === 0 ? 12 : hour % 12;
  return (format.binary ? clockHour : toBcd(clockHour)) | (hour >= 12 ? PM : 0);
}

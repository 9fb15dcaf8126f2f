/** The default guest for tests that boot it. */
import { type DefaultGuest, defaultGuest } from '../../../host/node/index.ts';

/** `skip` is the reason why tests cannot have the guest, if that is so. */
export function guestOrReason(): Promise<{ readonly guest?: DefaultGuest; readonly skip: string | false }> {
  return defaultGuest().then(
    (guest) => ({ guest, skip: false as const }),
    (error: Error) => ({ skip: error.message }),
  );
}

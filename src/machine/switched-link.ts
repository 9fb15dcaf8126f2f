/** A cable that can be unplugged. */
import type { NetLink, NetReceiver } from '../contract/index.ts';

export interface SwitchedLink extends NetLink {
  setUp(up: boolean): void;
}

/** The same link; while it is down, frames are lost both ways and the card sees no carrier. */
export function switchedLink(link: NetLink): SwitchedLink {
  let up = true;
  let receiver: NetReceiver | undefined;
  return {
    takes: link.takes,
    send(frame, unfinished) {
      if (up) link.send(frame, unfinished);
    },
    connect(given) {
      receiver = given;
      link.connect({
        get takes() {
          return given.takes;
        },
        receive: (frame, unfinished) => !up || given.receive(frame, unfinished),
        carrierChanged: (isUp) => up && given.carrierChanged?.(isUp),
      });
    },
    resume: () => link.resume(),
    setUp(wanted) {
      if (wanted === up) return;
      up = wanted;
      receiver?.carrierChanged?.(up);
    },
  };
}

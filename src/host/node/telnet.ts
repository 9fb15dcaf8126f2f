/** As much of telnet (RFC 854, 857, 858) as makes its client send single keys and take binary text. */

const IAC = 0xff;
const SB = 0xfa;
const SE = 0xf0;
const WILL = 0xfb;
const [ECHO, SUPPRESS_GO_AHEAD, BINARY] = [1, 3, 0];

/** We echo, there is no half duplex, bytes are bytes. */
export const TELNET_HELLO = Uint8Array.of(
  ...[IAC, WILL, ECHO],
  ...[IAC, WILL, SUPPRESS_GO_AHEAD],
  ...[IAC, WILL, BINARY],
  ...[IAC, 0xfd, BINARY],
);

/** Takes commands out of what a telnet client sends; a command may be cut anywhere. */
export class TelnetFilter {
  #state: 'data' | 'command' | 'option' | 'negotiation' | 'negotiation-command' = 'data';

  feed(bytes: Uint8Array): Uint8Array {
    const data: number[] = [];
    for (const byte of bytes) this.#take(byte, data);
    return Uint8Array.from(data);
  }

  /** A byte 255 of data is sent twice. */
  escape(bytes: Uint8Array): Uint8Array {
    return bytes.includes(IAC)
      ? Uint8Array.from([...bytes].flatMap((byte) => (byte === IAC ? [IAC, IAC] : [byte])))
      : bytes;
  }

  #take(byte: number, data: number[]): void {
    switch (this.#state) {
      case 'data':
        if (byte === IAC) this.#state = 'command';
        else data.push(byte);
        return;
      case 'command':
        if (byte === IAC) data.push(byte);
        this.#state = byte === SB ? 'negotiation' : byte >= WILL && byte < IAC ? 'option' : 'data';
        return;
      case 'option':
        this.#state = 'data';
        return;
      case 'negotiation':
        if (byte === IAC) this.#state = 'negotiation-command';
        return;
      case 'negotiation-command':
        this.#state = byte === SE ? 'data' : 'negotiation';
        return;
    }
  }
}

/** The character joint: a byte stream between a device (UART, console) and the outside. */
export interface CharPort {
  /** Sends bytes outwards. The port copies them before it returns and never blocks. */
  write(bytes: Uint8Array): void;
  /** Names who takes incoming bytes; a port has one receiver. */
  connect(receiver: CharReceiver): void;
}

export interface CharReceiver {
  /** How many bytes the receiver can take now; the port keeps the rest (backpressure). */
  canReceive(): number;
  /** At most `canReceive()` bytes. */
  receive(bytes: Uint8Array): void;
}

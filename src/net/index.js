/** Networks without privileges: the user-mode network, wire formats, TCP, links and filters. */
export { TcpConnection } from './tcp/connection.js';
export { Timers } from './timers.js';
export { DEFAULT_LIMITS } from './user/config.js';
export { createUserNet } from './user/user-net.js';
export * from './wire/index.js';

/** Modes of files as stat(2) has them: inode(7). */
export const MODE = {
  type: 0o170000,
  socket: 0o140000,
  symlink: 0o120000,
  file: 0o100000,
  block: 0o060000,
  folder: 0o040000,
  character: 0o020000,
  fifo: 0o010000,
  setUid: 0o4000,
  setGid: 0o2000,
  permissions: 0o777,
  /** Permissions and the three bits above them. */
  changeable: 0o7777,
} as const;

export function isFolder(mode: number): boolean {
  return (mode & MODE.type) === MODE.folder;
}

export function isPlain(mode: number): boolean {
  return (mode & MODE.type) === MODE.file;
}

export function isSymlink(mode: number): boolean {
  return (mode & MODE.type) === MODE.symlink;
}

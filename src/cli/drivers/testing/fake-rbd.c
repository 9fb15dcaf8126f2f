/*
 * librados and librbd for tests. The cluster is the folder of its configuration file, a pool a folder in it, and an
 * image a file there; a namespace or a snapshot is a part of its name. The id "stranger" may not connect.
 * "bad!" fails each request, "full!" writes. With OLD it is a librbd from before rbd_write_zeroes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
struct cluster { char folder[600], id[80]; };
struct pool { char folder[700], space[80]; };
struct image { int fd, bad, full; };
static int result(long r) { return r < 0 ? -errno : (int)r; }
int rados_create(struct cluster **c, const char *id) {
  *c = calloc(1, sizeof **c);
  snprintf((*c)->id, 80, "%s", id ? id : "admin");
  return 0;
}
int rados_conf_read_file(struct cluster *c, const char *path) {
  if (!path || access(path, R_OK)) return -ENOENT;
  snprintf(c->folder, 600, "%s", path);
  *strrchr(c->folder, '/') = 0;
  return 0;
}
int rados_conf_set(struct cluster *c, const char *key, const char *value) {
  return strcmp(key, "rbd_cache") || strcmp(value, "false") ? -EINVAL : 0;
}
int rados_connect(struct cluster *c) { return strcmp(c->id, "stranger") ? 0 : -ETIMEDOUT; }
void rados_shutdown(struct cluster *c) { free(c); }
int rados_ioctx_create(struct cluster *c, const char *name, struct pool **p) {
  *p = calloc(1, sizeof **p);
  snprintf((*p)->folder, 700, "%s/%s", c->folder, name);
  return result(access((*p)->folder, R_OK));
}
void rados_ioctx_set_namespace(struct pool *p, const char *name) { snprintf(p->space, 80, "%s+", name); }
void rados_ioctx_destroy(struct pool *p) { free(p); }
static int at(struct pool *p, const char *name, const char *snap, int flags) {
  char path[1000];
  snprintf(path, 1000, "%s/%s%s%s%s", p->folder, p->space, name, snap ? "@" : "", snap ? snap : "");
  return result(open(path, flags, 0644));
}
int rbd_create(struct pool *p, const char *name, uint64_t size, int *order) {
  int fd = at(p, name, 0, O_RDWR | O_CREAT | O_EXCL);
  if (fd < 0) return fd;
  int r = *order ? -EDOM : result(ftruncate(fd, size));
  close(fd);
  return r;
}
static int opened(struct pool *p, const char *name, struct image **i, const char *snap, int flags) {
  int fd = at(p, name, snap, flags);
  if (fd < 0) return fd;
  *i = calloc(1, sizeof **i);
  (*i)->fd = fd;
  (*i)->bad = !strcmp(name, "bad!");
  (*i)->full = !strcmp(name, "full!");
  return 0;
}
int rbd_open(struct pool *p, const char *name, struct image **i, const char *snap) {
  return opened(p, name, i, snap, O_RDWR);
}
int rbd_open_read_only(struct pool *p, const char *name, struct image **i, const char *snap) {
  return opened(p, name, i, snap, O_RDONLY);
}
int rbd_close(struct image *i) { close(i->fd); free(i); return 0; }
int rbd_get_size(struct image *i, uint64_t *size) {
  struct stat s;
  int r = result(fstat(i->fd, &s));
  *size = s.st_size;
  return r;
}
static int inside(struct image *i, uint64_t end) {
  uint64_t size;
  rbd_get_size(i, &size);
  return end <= size;
}
long rbd_read(struct image *i, uint64_t at, size_t n, char *to) {
  return i->bad ? -EIO : result(pread(i->fd, to, n, at));
}
long rbd_write(struct image *i, uint64_t at, size_t n, const char *from) {
  if (!inside(i, at + n)) return -EINVAL;
  return i->bad ? -EIO : i->full ? -ENOSPC : result(pwrite(i->fd, from, n, at));
}
static int punch(struct image *i, uint64_t at, uint64_t n, int mode) {
  if (n > 0x7fffffff || !inside(i, at + n)) return -EINVAL;
  return i->bad ? -EIO : result(fallocate(i->fd, mode, at, n));
}
int rbd_discard(struct image *i, uint64_t at, uint64_t n) { return punch(i, at, n, 3); }
#ifndef OLD
long rbd_write_zeroes(struct image *i, uint64_t at, size_t n, int zero_flags, int op_flags) {
  return punch(i, at, n, zero_flags ? 17 : 3);
}
#endif
int rbd_flush(struct image *i) { return i->bad ? -EIO : result(fsync(i->fd)); }
int rbd_resize(struct image *i, uint64_t size) { return i->bad ? -EIO : result(ftruncate(i->fd, size)); }

/* A wrapper round the system calls that write, and those that read, loaded with LD_PRELOAD. It counts those below
   a folder and, at the n-th, ends the process (before the call, or with half of its bytes written) or lets the
   call fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, KILL_BEFORE, KILL_HALFWAY, FAIL_ONCE, FAIL_FROM_THEN_ON, COUNT_READS, FAIL_READ };

static char below[4096];
static volatile long seen, at;
static volatile int mode, number; /* number: the errno of a call that fails */

void faults_arm(const char *folder, int how, long n, int error) {
    snprintf(below, sizeof below, "%s", folder);
    seen = 0, at = n, number = error, mode = how;
}

long faults_seen(void) { return seen; }

static int inside(const char *path) { return path && !strncmp(path, below, strlen(below)); }

static int inside_of(int folder, const char *name) { /* name may lie below an opened folder */
    char link[64], path[4096];
    if (!name || name[0] == '/' || folder == AT_FDCWD) return inside(name);
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, path, sizeof path - 1);
    return n > 0 && (path[n] = 0, inside(path));
}

static int opened_inside(int file) {
    char link[64], path[4096];
    if (file < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, path, sizeof path - 1);
    return n > 0 && (path[n] = 0, inside(path));
}

/* 0: go on; -1: fail, errno is set; 1: write half, then die */
static int point(int is_inside, int has_bytes) {
    if (mode == OFF || mode >= COUNT_READS || !is_inside) return 0;
    long n = __sync_fetch_and_add(&seen, 1);
    if (n < at || mode == COUNT) return 0;
    if (mode == KILL_BEFORE) raise(SIGKILL);
    if (mode == KILL_HALFWAY) {
        if (has_bytes) return 1;
        raise(SIGKILL);
    }
    if (mode == FAIL_ONCE && n > at) return 0;
    errno = number;
    return -1;
}

static int fails_to_read(int file) {
    if (mode < COUNT_READS || !opened_inside(file)) return 0;
    long n = __sync_fetch_and_add(&seen, 1);
    if (mode == COUNT_READS || n != at) return 0;
    errno = number;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define BYTES(call, file, half)            \
    switch (point(opened_inside(file), 1)) { \
    case -1: return -1;                      \
    case 1: half; raise(SIGKILL);            \
    }                                        \
    return call
#define PLAIN(is_inside, call) return point(is_inside, 0) < 0 ? -1 : call

ssize_t write(int file, const void *x, size_t n) {
    BYTES(REAL(write)(file, x, n), file, REAL(write)(file, x, n / 2));
}
ssize_t pwrite64(int file, const void *x, size_t n, off64_t from) {
    BYTES(REAL(pwrite64)(file, x, n, from), file, REAL(pwrite64)(file, x, n / 2, from));
}
ssize_t writev(int file, const struct iovec *x, int n) { BYTES(REAL(writev)(file, x, n), file, (void)0); }
ssize_t sendfile64(int to, int from, off64_t *where, size_t n) {
    BYTES(REAL(sendfile64)(to, from, where, n), to, (void)0);
}
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags) {
    BYTES(REAL(copy_file_range)(from, a, to, b, n, flags), to, (void)0);
}
int fsync(int file) { PLAIN(opened_inside(file), REAL(fsync)(file)); }
int fdatasync(int file) { PLAIN(opened_inside(file), REAL(fdatasync)(file)); }
int ftruncate64(int file, off64_t n) { PLAIN(opened_inside(file), REAL(ftruncate64)(file, n)); }
int rename(const char *a, const char *b) { PLAIN(inside(b), REAL(rename)(a, b)); }
int renameat(int i, const char *a, int j, const char *b) { PLAIN(inside_of(j, b), REAL(renameat)(i, a, j, b)); }
int link(const char *a, const char *b) { PLAIN(inside(b), REAL(link)(a, b)); }
int unlink(const char *path) { PLAIN(inside(path), REAL(unlink)(path)); }
int unlinkat(int folder, const char *path, int flags) {
    PLAIN(inside_of(folder, path), REAL(unlinkat)(folder, path, flags));
}
int mkdir(const char *path, mode_t bits) { PLAIN(inside(path), REAL(mkdir)(path, bits)); }
int mkdirat(int folder, const char *path, mode_t bits) {
    PLAIN(inside_of(folder, path), REAL(mkdirat)(folder, path, bits));
}
int rmdir(const char *path) { PLAIN(inside(path), REAL(rmdir)(path)); }

#define WRITES (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)
#define MODE_OF(flags)                              \
    mode_t bits = 0;                                \
    if ((flags) & (O_CREAT | O_TMPFILE)) {          \
        va_list more;                               \
        va_start(more, flags);                      \
        bits = va_arg(more, mode_t);                \
        va_end(more);                               \
    }
int open64(const char *path, int flags, ...) {
    MODE_OF(flags);
    PLAIN((flags & WRITES) && inside(path), REAL(open64)(path, flags, bits));
}
int open(const char *path, int flags, ...) {
    MODE_OF(flags);
    PLAIN((flags & WRITES) && inside(path), REAL(open)(path, flags, bits));
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF(flags);
    PLAIN((flags & WRITES) && inside_of(folder, path), REAL(openat64)(folder, path, flags, bits));
}
int openat(int folder, const char *path, int flags, ...) {
    MODE_OF(flags);
    PLAIN((flags & WRITES) && inside_of(folder, path), REAL(openat)(folder, path, flags, bits));
}
ssize_t read(int file, void *x, size_t n) { return fails_to_read(file) ? -1 : REAL(read)(file, x, n); }
ssize_t pread64(int file, void *x, size_t n, off64_t from) {
    return fails_to_read(file) ? -1 : REAL(pread64)(file, x, n, from);
}

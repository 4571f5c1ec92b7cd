/* Opening files beneath a directory and nowhere else, for servers that get paths from strangers. Nothing in here
 * concerns gyre. Define _POSIX_C_SOURCE 200809L or more before including it. */
#ifndef EXAMPLES_BENEATH_H
#define EXAMPLES_BENEATH_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Opens the file of a path as "a/b/c", to which the directory is the root; "" and "/" are the directory itself. Goes
 * down only, one component at a time: ".." is refused (EACCES), and so is every symbolic link (ELOOP or ENOTDIR), for
 * either may lead out. Returns a descriptor of the caller's, or -1 with errno. Do not forget O_NONBLOCK where the file
 * may be a FIFO: to open one blocks. */
static inline int open_beneath(int directory, const char *path, int flags)
{
    int at = directory;
    int next, error;

    for (;;) {
        char name[NAME_MAX + 1] = ".";
        size_t length;
        int is_last;

        path += strspn(path, "/");
        length = strcspn(path, "/");
        is_last = path[length + strspn(path + length, "/")] == '\0';
        if (length > NAME_MAX) {
            next = -1;
            errno = ENAMETOOLONG;
        } else {
            if (length > 0) {
                memcpy(name, path, length);
                name[length] = '\0';
            }
            if (strcmp(name, "..") == 0) {
                next = -1;
                errno = EACCES;
            } else {
                next = openat(at, name, (is_last ? flags : O_RDONLY | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC);
            }
        }
        error = errno;
        if (at != directory)
            close(at);
        errno = error;
        if (next < 0 || is_last)
            return next;
        at = next;
        path += length;
    }
}

#endif

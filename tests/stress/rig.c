// SPDX-License-Identifier: Apache-2.0
/*
 * See rig.h. The power cut is the file system's own: EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number, and
 * without a flush of the log they stop it where it stands. What had been handed to the device before is there
 * afterwards; the device's own cache does not lose anything, which only the simulated disk does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

#define IOC_SHUTDOWN _IOR('X', 125, uint32_t)
enum { SHUTDOWN_NO_LOG_FLUSH = 2, LOOP_ATTEMPTS = 64, UNMOUNT_ATTEMPTS = 2000000 };

static bool failed(const char *what, const char *on)
{
    fprintf(stderr, "%s %s: %s\n", what, on, strerror(errno));
    return false;
}

static bool impossible(const char *what)
{
    printf("skipped: %s (needs root and loop devices): %s\n", what, strerror(errno));
    return false;
}

bool rig_enter(const char *dir)
{
    if (geteuid() != 0) {
        printf("skipped: needs root and loop devices\n");
        return false;
    }
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return impossible("mounts of its own");
    if ((mkdir(dir, 0700) != 0 && errno != EEXIST) || mount("tmpfs", dir, "tmpfs", 0, "mode=700") != 0)
        return impossible("a tmpfs");
    return true;
}

void rig_leave(const char *dir)
{
    (void)umount2(dir, MNT_DETACH);
    (void)rmdir(dir);
}

/* ---- making one ------------------------------------------------------------------------------------------------ */

static bool image_make(const char *path, unsigned mib)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed("creating", path);
    bool done = fallocate(fd, 0, 0, (off_t)mib << 20) == 0;
    if (!done)
        failed("reserving", path);
    close(fd);
    return done;
}

/* A free loop device for the image; others may be looking for one at the same time. */
static bool loop_attach(struct volume *v, int image)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    struct loop_config config = {.fd = (uint32_t)image, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
    for (int n = 0; control >= 0 && v->loop < 0 && n < LOOP_ATTEMPTS; n++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            break;
        snprintf(v->device, sizeof v->device, "/dev/loop%d", number);
        int fd = open(v->device, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            break;
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
            v->loop = fd;
        else
            close(fd);
    }
    int err = errno;
    if (control >= 0)
        close(control);
    errno = err;
    return v->loop >= 0 || impossible("a loop device");
}

static bool image_attach(struct volume *v)
{
    int image = open(v->image, O_RDWR | O_CLOEXEC);
    if (image < 0)
        return failed("opening", v->image);
    bool done = loop_attach(v, image);
    close(image);
    return done;
}

static bool file_system_make(const struct volume *v)
{
    char command[700];
    const char *options = strcmp(v->type, "xfs") == 0 ? "-q -f -K"
                                                      : "-q -F -b 4096 -m 0 -N 2048 -J size=4 "
                                                        "-E nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin; mkfs.%s %s %s >/dev/null", v->type, options,
             v->device);
    if (system(command) == 0)
        return true;
    printf("skipped: mkfs.%s is not possible here (./dev deps test)\n", v->type);
    return false;
}

bool volume_create(struct volume *v, const char *type, const char *dir, const char *name, unsigned mib)
{
    *v = (struct volume){.type = type, .loop = -1};
    snprintf(v->image, sizeof v->image, "%s/%s.img", dir, name);
    snprintf(v->mount_point, sizeof v->mount_point, "%s/%s", dir, name);
    if (mkdir(v->mount_point, 0700) != 0)
        return failed("creating", v->mount_point);
    if (!image_make(v->image, mib) || !image_attach(v))
        return false;
    return file_system_make(v) && volume_mount(v);
}

static bool request_size(const struct volume *v, const char *mode, char text[16])
{
    char path[100];
    snprintf(path, sizeof path, "/sys/block/%s/queue/max_sectors_kb", v->device + strlen("/dev/"));
    FILE *file = fopen(path, mode);
    bool done = file != NULL && (*mode == 'r' ? fgets(text, 16, file) != NULL : fputs(text, file) >= 0);
    if (file != NULL)
        done = fclose(file) == 0 && done;
    return done || failed("setting", path);
}

bool volume_split(struct volume *v)
{
    char one_block[16] = "4";
    return request_size(v, "r", v->request_kib) && request_size(v, "w", one_block);
}

void volume_destroy(struct volume *v)
{
    if (v->is_mounted)
        (void)volume_unmount(v);
    if (v->request_kib[0] != 0)
        (void)request_size(v, "w", v->request_kib);
    if (v->loop >= 0)
        close(v->loop); /* detaches it */
    v->loop = -1;
}

/* ---- what is done to it ---------------------------------------------------------------------------------------- */

/* The files of a process that was killed may be closed a little after it is gone: requests of an io_uring hold them. */
bool volume_unmount(struct volume *v)
{
    for (int n = 0; n < UNMOUNT_ATTEMPTS; n++) {
        if (umount2(v->mount_point, 0) == 0) {
            v->is_mounted = false;
            return true;
        }
        if (errno != EBUSY)
            break;
        sched_yield();
    }
    return failed("unmounting", v->mount_point);
}

bool volume_mount(struct volume *v)
{
    if (mount(v->device, v->mount_point, v->type, 0, NULL) != 0)
        return failed("mounting", v->mount_point);
    v->is_mounted = true;
    return true;
}

static bool on_directory(const char *path, unsigned long request, void *arg, const char *what)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed("opening", path);
    bool done = ioctl(fd, request, arg) == 0;
    if (!done)
        failed(what, path);
    close(fd);
    return done;
}

bool volume_cut(struct volume *v)
{
    uint32_t flags = SHUTDOWN_NO_LOG_FLUSH;
    return on_directory(v->mount_point, IOC_SHUTDOWN, &flags, "shutting down");
}

bool volume_trim(struct volume *v)
{
    struct fstrim_range range = {.len = UINT64_MAX};
    return on_directory(v->mount_point, FITRIM, &range, "trimming");
}

/* ---- ballast --------------------------------------------------------------------------------------------------- */

static void ballast_path(const char *dir, char out[500])
{
    snprintf(out, 500, "%s/ballast", dir);
}

bool ballast_fill(const char *dir)
{
    char path[500];
    struct stat st;
    ballast_path(dir, path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == ENOSPC || failed("creating", path);
    bool done = fstat(fd, &st) == 0;
    for (off_t step = 16 << 20; done && step >= 4096;) {
        if (fallocate(fd, 0, st.st_size, step) == 0)
            st.st_size += step;
        else if (errno == ENOSPC)
            step /= 2;
        else if (errno != EINTR)
            done = failed("filling", path);
    }
    close(fd);
    return done;
}

bool ballast_remove(const char *dir)
{
    char path[500];
    ballast_path(dir, path);
    return unlink(path) == 0 || errno == ENOENT || failed("removing", path);
}

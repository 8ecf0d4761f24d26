// SPDX-License-Identifier: Apache-2.0
/*
 * tests/stress/rig.h - file systems of one's own, in files, and what can be done to them that one would not do to a
 * real disk: cut their power, let their device run out of space, fill them up.
 *
 * Everything lies in a tmpfs in a mount namespace of its own, and loop devices detach themselves: when the process
 * ends, however it does, nothing is left. Needs root, loop devices and the mkfs of the file system.
 */
#ifndef TESTS_STRESS_RIG_H
#define TESTS_STRESS_RIG_H

#include <stdbool.h>
#include <stdint.h>

struct volume {
    const char *type; /* "ext4", "xfs"; static */
    char image[400];
    char mount_point[400];
    char device[32];
    int loop; /* the device; -1: none */
    bool is_mounted;
    char request_kib[16]; /* the device's largest request, before volume_split changed it; "": it was not */
};

/* Mounts of one's own, and a tmpfs at `dir`, which is created. False: it is not possible here, and why was said. */
bool rig_enter(const char *dir);
/* Its volumes have been destroyed. */
void rig_leave(const char *dir);

/*
 * Make and mount a file system of `mib` MiB: image and mount point are dir/NAME.img, dir/NAME. Every block of the image
 * is there, whatever happens to the disk below. False: it is not possible here, and why was said.
 */
bool volume_create(struct volume *v, const char *type, const char *dir, const char *name, unsigned mib);
void volume_destroy(struct volume *v);

/* The calls below must succeed; otherwise they say why and return false. */

/* Whoever has files open there must be gone. */
bool volume_unmount(struct volume *v);
/* Replays the journal, if the power was cut. */
bool volume_mount(struct volume *v);
/* Cut the power, as far as the file system can tell: from this call on nothing of what it still has in memory goes to
 * the device, neither data nor journal, and every call fails. */
bool volume_cut(struct volume *v);
/*
 * From now on the device writes a block at a time. REQUIRES: blocks of 4 KiB. The loop driver (as of Linux 6.18) takes
 * a write of several blocks of which the last find no room in the image for one that was done: a device that lies like
 * that loses what was synced whoever writes to it.
 */
bool volume_split(struct volume *v);
/* Give the blocks that the file system does not use back to the image, which then has holes there. */
bool volume_trim(struct volume *v);

/* Fill the file system at `dir` to its last block, or go on doing so. False: it cannot be done, and why was said. */
bool ballast_fill(const char *dir);
bool ballast_remove(const char *dir);

#endif

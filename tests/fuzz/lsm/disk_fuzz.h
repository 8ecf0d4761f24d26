// SPDX-License-Identifier: Apache-2.0
/*
 * disk_fuzz.h - what the fuzz targets of whole directories share: files of a simulated disk as bytes, patches, and
 * right checksums on the patched ones (nothing gets past those otherwise, and a hostile file has right ones).
 */
#ifndef TESTS_FUZZ_LSM_DISK_FUZZ_H
#define TESTS_FUZZ_LSM_DISK_FUZZ_H

#include <inttypes.h>

#include "../fuzz.h"
#include "../rlog/log_fuzz.h"
#include "../sst/sst_fuzz.h"
#include "io/sim.h"
#include "lsm/names.h"

enum { DISK_FILES_MAX = 16, DISK_FILE_BYTES_MAX = 1 << 17, PATCH_BYTES = 4 };

struct disk_file {
    char path[64];
    uint64_t size;
};

struct disk_list {
    struct disk_file files[DISK_FILES_MAX];
    size_t count;
};

static inline bool disk_list_add(void *arg, const char *path, uint64_t size)
{
    struct disk_list *l = arg;
    if (l->count < DISK_FILES_MAX && size > 0 && size <= DISK_FILE_BYTES_MAX) {
        snprintf(l->files[l->count].path, sizeof l->files[0].path, "%s", path);
        l->files[l->count++].size = size;
    }
    return true;
}

static inline const char *disk_name(const struct disk_file *f)
{
    const char *slash = strrchr(f->path, '/');
    return slash ? slash + 1 : f->path;
}

/* The checksum of CURRENT follows from the name in it. */
static inline void reseal_current(uint8_t *bytes, size_t size)
{
    uint8_t *space = memchr(bytes, ' ', size);
    char hex[20];
    if (space == NULL || (size_t)(bytes + size - space) < 17)
        return;
    snprintf(hex, sizeof hex, "%016" PRIx64, checksum64(bytes, (size_t)(space - bytes), 0));
    memcpy(space + 1, hex, 16);
}

static inline void reseal(const struct disk_file *f, uint8_t *bytes)
{
    uint64_t number;
    switch (file_type_of(disk_name(f), &number)) {
    case FILE_CURRENT:
        reseal_current(bytes, f->size);
        break;
    case FILE_WAL:
    case FILE_MANIFEST:
        log_reseal(bytes, f->size, number);
        break;
    case FILE_SST:
        fuzz_seal(bytes, f->size);
        break;
    default:
        break;
    }
}

/* One patch: which file, where (the first 16 KiB byte by byte, or the first bytes of each page), what. */
static inline void patch_apply(struct io *io, const struct disk_list *l, const uint8_t patch[PATCH_BYTES], bool seal)
{
    const struct disk_file *f = &l->files[patch[0] % l->count];
    size_t off = patch[1] & 0x80 ? (size_t)(patch[1] & 0x7f) * PAGE_BYTES + patch[2] : (size_t)patch[1] << 8 | patch[2];
    struct io_file *file = NULL;
    uint8_t *bytes = malloc(f->size);
    fuzz_require(bytes != NULL);
    off %= f->size;
    fuzz_require(io_open(io, f->path, IO_OTHER, IO_STD, IO_READ | IO_WRITE, &file) == NOKV_OK);
    fuzz_require(io_pread_exact(file, bytes, f->size, 0) == NOKV_OK);
    if (patch[3] == 0)
        fuzz_require(io_truncate(file, off) == NOKV_OK);
    bytes[off] ^= patch[3];
    if (seal && patch[3] != 0)
        reseal(f, bytes);
    if (patch[3] != 0)
        fuzz_require(io_pwrite(file, bytes, f->size, 0) == NOKV_OK);
    fuzz_require(io_close(file) == NOKV_OK);
    free(bytes);
}

/* All patches of an input, or the first of them. */
static inline void patches_apply(struct io *io, struct sim *sim, const uint8_t *data, size_t size, size_t count_max,
                                 bool seal)
{
    for (size_t i = 0; i + PATCH_BYTES <= size && i / PATCH_BYTES < count_max; i += PATCH_BYTES) {
        struct disk_list l = {0};
        sim_each_file(sim, disk_list_add, &l);
        if (l.count > 0)
            patch_apply(io, &l, data + i, seal);
    }
}

#endif

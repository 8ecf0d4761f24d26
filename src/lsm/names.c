// SPDX-License-Identifier: Apache-2.0
/* File names: built with snprintf, parsed strictly: what another program might write differently is not ours. */
#include "lsm/names.h"

#include <inttypes.h>
#include <stdio.h>

static enum nokv_status path_check(int written, const char *dir)
{
    if (written < 0 || written >= PATH_SIZE_MAX)
        return FAIL(TOO_LARGE, "the path of the database is too long (%zu bytes)", strlen(dir));
    return NOKV_OK;
}

enum nokv_status path_join(char out[PATH_SIZE_MAX], const char *dir, const char *name)
{
    return path_check(snprintf(out, PATH_SIZE_MAX, "%s/%s", dir, name), dir);
}

enum nokv_status path_current(char out[PATH_SIZE_MAX], const char *dir)
{
    return path_join(out, dir, "CURRENT");
}

enum nokv_status path_lock(char out[PATH_SIZE_MAX], const char *dir)
{
    return path_join(out, dir, "LOCK");
}

enum nokv_status path_walbuf(char out[PATH_SIZE_MAX], const char *dir)
{
    return path_join(out, dir, "WALBUF");
}

enum nokv_status path_manifest(char out[PATH_SIZE_MAX], const char *dir, uint64_t number)
{
    return path_check(snprintf(out, PATH_SIZE_MAX, "%s/MANIFEST-%06" PRIu64, dir, number), dir);
}

enum nokv_status path_wal(char out[PATH_SIZE_MAX], const char *dir, uint64_t number)
{
    return path_check(snprintf(out, PATH_SIZE_MAX, "%s/%06" PRIu64 ".wal", dir, number), dir);
}

enum nokv_status path_sst(char out[PATH_SIZE_MAX], const char *dir, uint64_t number)
{
    return path_check(snprintf(out, PATH_SIZE_MAX, "%s/%06" PRIu64 ".sst", dir, number), dir);
}

enum nokv_status path_vlogbuf(char out[PATH_SIZE_MAX], const char *dir)
{
    return path_join(out, dir, "VLOGBUF");
}

enum nokv_status path_vlog_dir(char out[PATH_SIZE_MAX], const char *dir)
{
    return path_join(out, dir, "vlog");
}

enum nokv_status path_vlog(char out[PATH_SIZE_MAX], const char *dir, uint64_t number)
{
    return path_check(snprintf(out, PATH_SIZE_MAX, "%s/vlog/%06" PRIu64 ".vlog", dir, number), dir);
}

/*
 * Reads a number exactly as the functions above write it: at least six digits, more only without a leading zero, within
 * 1 to FILE_NUMBER_MAX. So each number has one name. Returns what follows, or NULL.
 */
static const char *number_parse(const char *s, uint64_t *out_number)
{
    uint64_t n = 0;
    const char *p = s;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (n > FILE_NUMBER_MAX / 10)
            return NULL;
        n = n * 10 + (uint64_t)(*p - '0');
    }
    if (p - s < 6 || (p - s > 6 && *s == '0') || n == 0 || n > FILE_NUMBER_MAX)
        return NULL;
    *out_number = n;
    return p;
}

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

enum file_type file_type_of(const char *name, uint64_t *out_number)
{
    uint64_t number;
    *out_number = 0;
    if (strcmp(name, "CURRENT") == 0)
        return FILE_CURRENT;
    if (strcmp(name, "LOCK") == 0)
        return FILE_LOCK;
    if (strcmp(name, "WALBUF") == 0)
        return FILE_WALBUF;
    if (strcmp(name, "VLOGBUF") == 0)
        return FILE_VLOGBUF;
    if (ends_with(name, ".tmp"))
        return FILE_TEMP;
    if (strncmp(name, "MANIFEST-", 9) == 0) {
        const char *end = number_parse(name + 9, &number);
        if (end == NULL || *end != 0)
            return FILE_UNKNOWN;
        *out_number = number;
        return FILE_MANIFEST;
    }
    const char *end = number_parse(name, &number);
    enum file_type type = end == NULL                 ? FILE_UNKNOWN
                          : strcmp(end, ".wal") == 0  ? FILE_WAL
                          : strcmp(end, ".sst") == 0  ? FILE_SST
                          : strcmp(end, ".vlog") == 0 ? FILE_VLOG
                                                      : FILE_UNKNOWN;
    if (type != FILE_UNKNOWN)
        *out_number = number;
    return type;
}

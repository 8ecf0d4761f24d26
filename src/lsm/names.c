// SPDX-License-Identifier: Apache-2.0
/* File names: built with snprintf, parsed strictly (digits only, nothing after the suffix). */
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

/* Reads decimal digits; returns what follows them, or NULL when there is none or too many. */
static const char *number_parse(const char *s, uint64_t *out_number)
{
    uint64_t n = 0;
    const char *p = s;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (n > (UINT64_MAX - 9) / 10)
            return NULL;
        n = n * 10 + (uint64_t)(*p - '0');
    }
    *out_number = n;
    return p == s ? NULL : p;
}

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

enum file_type file_type_of(const char *name, uint64_t *out_number)
{
    *out_number = 0;
    if (strcmp(name, "CURRENT") == 0)
        return FILE_CURRENT;
    if (strcmp(name, "LOCK") == 0)
        return FILE_LOCK;
    if (strcmp(name, "WALBUF") == 0)
        return FILE_WALBUF;
    if (ends_with(name, ".tmp"))
        return FILE_TEMP;
    if (strncmp(name, "MANIFEST-", 9) == 0) {
        const char *end = number_parse(name + 9, out_number);
        return end && *end == 0 ? FILE_MANIFEST : FILE_UNKNOWN;
    }
    const char *end = number_parse(name, out_number);
    if (end && strcmp(end, ".wal") == 0)
        return FILE_WAL;
    if (end && strcmp(end, ".sst") == 0)
        return FILE_SST;
    return FILE_UNKNOWN;
}

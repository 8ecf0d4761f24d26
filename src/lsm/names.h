// SPDX-License-Identifier: Apache-2.0
/*
 * lsm/names.h - the files of a database directory and what they are called.
 *
 *   CURRENT            names the MANIFEST in force     WALBUF   the shared buffer in front of the WAL
 *   MANIFEST-000004    a record log of version edits   LOCK     lock and pid of the owner
 *   000005.wal  000006.sst                             *.tmp    unfinished, removed at open
 *                                                      VLOGBUF  the shared buffers of the value log's writers
 *   vlog/000007.vlog   a segment of the value log
 *
 * Numbers come from one counter and are never used twice.
 */
#ifndef LSM_NAMES_H
#define LSM_NAMES_H

#include "base/base.h"

enum { PATH_SIZE_MAX = 4096 };
#define FILE_NUMBER_MAX (1ull << 56) /* names with a greater number are not ours; new files are kept far below it */

enum file_type {
    FILE_UNKNOWN,
    FILE_CURRENT,
    FILE_LOCK,
    FILE_WALBUF,
    FILE_MANIFEST,
    FILE_WAL,
    FILE_SST,
    FILE_TEMP,
    FILE_VLOG,
    FILE_VLOGBUF
};

/* Each writes "dir/name" to `out`; TOO_LARGE when it does not fit. */
enum nokv_status path_current(char out[PATH_SIZE_MAX], const char *dir) MUST_CHECK;
enum nokv_status path_lock(char out[PATH_SIZE_MAX], const char *dir) MUST_CHECK;
enum nokv_status path_walbuf(char out[PATH_SIZE_MAX], const char *dir) MUST_CHECK;
enum nokv_status path_manifest(char out[PATH_SIZE_MAX], const char *dir, uint64_t number) MUST_CHECK;
enum nokv_status path_wal(char out[PATH_SIZE_MAX], const char *dir, uint64_t number) MUST_CHECK;
enum nokv_status path_sst(char out[PATH_SIZE_MAX], const char *dir, uint64_t number) MUST_CHECK;
enum nokv_status path_vlogbuf(char out[PATH_SIZE_MAX], const char *dir) MUST_CHECK;
enum nokv_status path_vlog_dir(char out[PATH_SIZE_MAX], const char *dir) MUST_CHECK;
enum nokv_status path_vlog(char out[PATH_SIZE_MAX], const char *dir, uint64_t number) MUST_CHECK;
enum nokv_status path_join(char out[PATH_SIZE_MAX], const char *dir, const char *name) MUST_CHECK;

/* What a name in the directory (or in its vlog/) stands for; *out_number is 0 for those without one. */
enum file_type file_type_of(const char *name, uint64_t *out_number);

#endif

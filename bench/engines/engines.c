// SPDX-License-Identifier: Apache-2.0
/*
 * engines/engines.c - the list of engines that this benchmark was built with, and of those that it was built without.
 *
 * Which is which was decided by CMake: a peer whose package is missing is named in every report and left out.
 */
#include "engines/engine.h"

extern const struct engine engine_nokv, engine_nokv_4k, engine_nokv_2m, engine_nokv_tables, engine_lmdb, engine_leveldb,
    engine_rocksdb, engine_rocksdb_mmap, engine_rocksdb_blob, engine_wiredtiger, engine_wiredtiger_lsm;

const struct engine *const engines_built[] = {
#ifdef BENCH_HAVE_NOKV
    &engine_nokv,
#endif
#ifdef BENCH_HAVE_LMDB
    &engine_lmdb,
#endif
#ifdef BENCH_HAVE_LEVELDB
    &engine_leveldb,
#endif
#ifdef BENCH_HAVE_ROCKSDB
    &engine_rocksdb,
    &engine_rocksdb_mmap,
    &engine_rocksdb_blob,
#endif
#ifdef BENCH_HAVE_WIREDTIGER
    &engine_wiredtiger,
    &engine_wiredtiger_lsm,
#endif
#ifdef BENCH_HAVE_NOKV
    &engine_nokv_4k,
    &engine_nokv_2m,
    &engine_nokv_tables,
#endif
    (const struct engine *)0,
};

const char *const engines_missing[] = {
#ifndef BENCH_HAVE_NOKV
    "nokv",          "the library itself",
#endif
#ifndef BENCH_HAVE_LMDB
    "lmdb",          "liblmdb-dev",
#endif
#ifndef BENCH_HAVE_LEVELDB
    "leveldb",       "libleveldb-dev",
#endif
#ifndef BENCH_HAVE_ROCKSDB
    "rocksdb",       "librocksdb-dev",
#endif
#ifndef BENCH_HAVE_WIREDTIGER
    "wiredtiger",    "libwiredtiger-dev",
#endif
    (const char *)0,
};

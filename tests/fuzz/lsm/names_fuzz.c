// SPDX-License-Identifier: Apache-2.0
/*
 * names_fuzz.c - any string as the name of a file in the database's directory. One that is taken for a numbered file is
 * the very name that the engine gives to a file of that kind and number, so that no two names are the same file.
 *
 * The mutator puts names together from parts of real ones.
 */
#include "../fuzz.h"
#include "lsm/names.h"

enum { NAME_MAX_HERE = 64 };

static enum nokv_status path_make(enum file_type type, uint64_t number, char path[PATH_SIZE_MAX])
{
    switch (type) {
    case FILE_MANIFEST:
        return path_manifest(path, "d", number);
    case FILE_WAL:
        return path_wal(path, "d", number);
    case FILE_SST:
        return path_sst(path, "d", number);
    case FILE_VLOG:
        return path_vlog(path, "d", number);
    default:
        return NOKV_ERR_INVALID;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[NAME_MAX_HERE + 1], path[PATH_SIZE_MAX];
    uint64_t number = 0;
    size = u64_min(size, NAME_MAX_HERE);
    if (size > 0)
        memcpy(name, data, size);
    name[size] = 0;
    enum file_type type = file_type_of(name, &number);
    bool is_numbered = type == FILE_MANIFEST || type == FILE_WAL || type == FILE_SST || type == FILE_VLOG;
    fuzz_must(is_numbered == (number != 0) && number <= FILE_NUMBER_MAX, "a number or none");
    if (is_numbered) {
        fuzz_must(path_make(type, number, path) == NOKV_OK, "path");
        fuzz_must(strcmp(strrchr(path, '/') + 1, name) == 0, "a file has two names");
    }
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const parts[] = {
        "MANIFEST-", "CURRENT", "LOCK", "WALBUF", "VLOGBUF", ".wal", ".sst",         ".vlog",
        ".tmp",      "000000",  "0",    "9",      "00000",   "-",    "922337203685", "18446744073709551615"};
    uint64_t random = seed;
    if (fuzz_draw(&random, 2))
        return LLVMFuzzerMutate(data, size, max_size);
    const char *part = parts[fuzz_draw(&random, ARRAY_COUNT(parts))];
    size_t at = fuzz_draw(&random, size + 1), n = strlen(part);
    if (n > max_size - size)
        return size;
    memmove(data + at + n, data + at, size - at);
    memcpy(data + at, part, n);
    return size + n;
}

// SPDX-License-Identifier: Apache-2.0
/* The input is a table file; once as it is, and once with right checksums. The corpus has sound tables. */
#include "sst_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct slice keys[] = {slice_make("", 0),    slice_make("apple", 5),  slice_make("banana", 6),
                                 slice_make("fig", 3), slice_make("\xff\0", 2), slice_make("\xff\xff\xff", 3)};
    fuzz_table(data, size, keys, ARRAY_COUNT(keys));
    uint8_t *sealed = malloc(size + 1);
    fuzz_require(sealed != NULL);
    memcpy(sealed, data, size);
    fuzz_seal(sealed, size);
    fuzz_table(sealed, size, keys, ARRAY_COUNT(keys));
    free(sealed);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * batch_fuzz.c - any bytes as a batch of the WAL: entries within its bytes, with one sequence number after the other,
 * or a refusal.
 */
#include <stdio.h>
#include <stdlib.h>

#include "db/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, status_message());
        abort();
    }
}

static unsigned touch(struct slice s, const uint8_t *data, size_t size)
{
    unsigned sum = 0;
    must(s.data >= data && s.data + s.size <= data + size, "bytes of an entry are not the batch's");
    for (size_t i = 0; i < s.size; i++)
        sum += s.data[i];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch_reader r;
    volatile unsigned sum = 0;
    enum nokv_status status = batch_reader_init(&r, slice_make(data, size), "fuzz");
    uint64_t seq = status == NOKV_OK ? r.seq : 0;
    for (bool more = true; status == NOKV_OK && more; seq++) {
        struct batch_entry e;
        status = batch_reader_next(&r, &e, &more);
        if (status != NOKV_OK || !more)
            break;
        must(tag_seq(e.key.tag) == seq && seq <= KEY_SEQ_MAX, "sequence numbers have a gap");
        must(e.key.user.size > 0 && e.key.user.size <= KEY_SIZE_MAX, "a key beyond its limits");
        sum += touch(e.key.user, data, size) + touch(e.value, data, size);
    }
    (void)sum;
    must(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED, "an odd refusal");
    return 0;
}

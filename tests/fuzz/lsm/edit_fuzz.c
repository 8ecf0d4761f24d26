// SPDX-License-Identifier: Apache-2.0
/*
 * edit_fuzz.c - any bytes as a version edit. What is understood is written again and understood the same.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lsm/edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, status_message());
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct edit first = {0}, second = {0};
    struct buf once = {0}, twice = {0};
    enum nokv_status status = edit_decode(slice_make(data, size), "fuzz", &first);
    must(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED, "an odd refusal");
    if (status == NOKV_OK) {
        must(edit_encode(&first, &once) == NOKV_OK, "encode");
        must(edit_decode(buf_slice(&once), "fuzz", &second) == NOKV_OK, "what was written is not understood");
        must(edit_encode(&second, &twice) == NOKV_OK, "encode");
        must(slice_equal(buf_slice(&once), buf_slice(&twice)), "what was written is understood differently");
    }
    edit_deinit(&first);
    edit_deinit(&second);
    buf_deinit(&once);
    buf_deinit(&twice);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * edit_fuzz.c - any bytes as a version edit. What is understood is written again and understood the same; with too
 * little memory it is understood the same, or NO_MEMORY.
 *
 * The mutator takes an edit apart into fields (edit_pieces.h).
 */
#include "edit_pieces.h"

static enum nokv_status decode(const uint8_t *data, size_t size, struct edit *out)
{
    enum nokv_status status = edit_decode(slice_make(data, size), "fuzz", out);
    fuzz_must(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED, "an odd refusal");
    return status;
}

static void check_short_of_memory(const uint8_t *data, size_t size, enum nokv_status wanted, uint64_t allocation)
{
    struct edit edit = {0};
    mem_fail_after(allocation);
    enum nokv_status status = edit_decode(slice_make(data, size), "fuzz", &edit);
    mem_fail_after(UINT64_MAX);
    fuzz_must(status == wanted || status == NOKV_ERR_NO_MEMORY, "another answer with little memory");
    edit_deinit(&edit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buf once, twice;
    struct edit first = {0}, second = {0};
    uint64_t allocation;
    enum nokv_status status = decode(data, size, &first);
    for (size_t i = 0; i < first.segment_add_count; i++)
        fuzz_must(strcmp(segment_origin_name(first.segment_adds[i].origin), "?") != 0, "an origin without a name");
    if (status == NOKV_OK) {
        once.size = twice.size = 0;
        fuzz_must(edit_encode(&first, &once) == NOKV_OK, "encode");
        fuzz_must(decode(once.data, once.size, &second) == NOKV_OK, "what was written is not understood");
        fuzz_must(edit_encode(&second, &twice) == NOKV_OK, "encode");
        fuzz_must(slice_equal(buf_slice(&once), buf_slice(&twice)), "what was written is understood differently");
    }
    edit_deinit(&first);
    edit_deinit(&second);
    if (fuzz_short_of_memory(data, size, &allocation))
        check_short_of_memory(data, size, status, allocation);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (fuzz_draw(&random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    pieces_begin(&p, data, 0, size, max_size);
    edit_split(&p);
    edit_change(&p, &random);
    return p.size;
}

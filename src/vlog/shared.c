// SPDX-License-Identifier: Apache-2.0
/*
 * shared.c - claims to bytes and back.
 *
 * Only the order of the stores in the program counts: when a process is killed all that its threads have stored by then
 * stays, in the pages that the kernel owns. So a fence against the compiler is enough between two stores, and the
 * writer's lock between claims and the bytes of records.
 *
 * [I1] At any moment a claim covers nothing, or bytes of the buffer that are, or will be, those of its place in the
 *      segment: it is emptied first, then moved, then grown.
 *
 * Why no checksum: it could not be stored in one piece with what it covers. What a claim says is a hint where to look;
 * the records' checksums decide.
 */
#include "vlog/shared.h"

#include <stdatomic.h>

static const char shared_magic[8] = "NoKVvlb\n";

enum { SHARED_MAGIC = 0, SHARED_VERSION_OFF = 8, SHARED_FEATURES = 12, SHARED_BUFFER_SIZE = 16 };
enum { CLAIM_SEGMENT = 0, CLAIM_OFF = 8, CLAIM_SIZE = 16 };

static_assert(SHARED_CLAIMS_OFF + BUFFER_COUNT * SHARED_CLAIM_BYTES <= (int)PAGE_BYTES, "claims fit into their page");

size_t vlog_shared_bytes(uint32_t buffer_bytes)
{
    return (size_t)BUFFER_COUNT * (buffer_bytes + PAGE_BYTES) + PAGE_BYTES;
}

uint32_t shared_buffer_bytes(const uint8_t *shared)
{
    uint32_t bytes = get_u32(shared + SHARED_BUFFER_SIZE);
    if (memcmp(shared + SHARED_MAGIC, shared_magic, sizeof shared_magic) != 0 ||
        get_u32(shared + SHARED_VERSION_OFF) != SHARED_VERSION || get_u32(shared + SHARED_FEATURES) != 0)
        return 0;
    return bytes >= VLOG_BUFFER_MIN && bytes <= VLOG_BUFFER_MAX && bytes % PAGE_BYTES == 0 ? bytes : 0;
}

void shared_init(uint8_t *shared, uint32_t buffer_bytes)
{
    for (unsigned i = 0; i < BUFFER_COUNT; i++)
        shared_claim_grow(shared_claim_at(shared, i), 0);
    if (shared_buffer_bytes(shared) == buffer_bytes)
        return;
    memset(shared, 0, PAGE_BYTES);
    put_u32(shared + SHARED_VERSION_OFF, SHARED_VERSION);
    put_u32(shared + SHARED_BUFFER_SIZE, buffer_bytes);
    atomic_signal_fence(memory_order_seq_cst); /* the claims are empty before they count */
    memcpy(shared + SHARED_MAGIC, shared_magic, sizeof shared_magic);
}

uint8_t *shared_buffer(uint8_t *shared, uint32_t buffer_bytes, unsigned index)
{
    return shared + PAGE_BYTES + (size_t)index * (buffer_bytes + PAGE_BYTES);
}

uint8_t *shared_claim_at(uint8_t *shared, unsigned index)
{
    return shared + SHARED_CLAIMS_OFF + (size_t)index * SHARED_CLAIM_BYTES;
}

void shared_claim_begin(uint8_t *claim, uint64_t segment, uint64_t off)
{
    shared_claim_grow(claim, 0); /* [I1] */
    put_u64(claim + CLAIM_SEGMENT, segment);
    put_u64(claim + CLAIM_OFF, off);
    atomic_signal_fence(memory_order_seq_cst);
}

void shared_claim_grow(uint8_t *claim, uint32_t size)
{
    put_u32(claim + CLAIM_SIZE, size);
    atomic_signal_fence(memory_order_seq_cst);
}

bool shared_claim_decode(const uint8_t *shared, uint32_t buffer_bytes, unsigned index, struct shared_claim *out_claim)
{
    const uint8_t *claim = shared + SHARED_CLAIMS_OFF + (size_t)index * SHARED_CLAIM_BYTES;
    struct shared_claim c = {
        .segment = get_u64(claim + CLAIM_SEGMENT),
        .off = get_u64(claim + CLAIM_OFF),
        .size = (uint32_t)u64_min(get_u32(claim + CLAIM_SIZE), buffer_bytes),
        .data = shared + PAGE_BYTES + (size_t)index * (buffer_bytes + PAGE_BYTES),
    };
    if (c.segment == 0 || c.size == 0 || c.off < VLOG_FIRST || c.off % PAGE_BYTES != 0 || c.off > VLOG_OFF_MAX)
        return false;
    *out_claim = c;
    return true;
}

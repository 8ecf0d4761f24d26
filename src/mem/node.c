// SPDX-License-Identifier: Apache-2.0
/*
 * The nodes of an adaptive radix tree (Leis, Kemper, Neumann: "The adaptive radix tree", ICDE 2013), arranged for one
 * writer and readers without locks or retries, with these differences:
 *
 * - Lists are append-only and unsorted instead of sorted, so that adding a child never moves what a reader looks at; an
 *   iterator finds the next byte by a minimum search over at most 26 bytes.
 * - Sizes follow cache lines: 64, 128 and 256 bytes for 4, 12 and 26 children; then 48 and 256 children.
 * - `level` is absolute and no prefix is stored, so that splitting the path above a node leaves it as it is.
 *
 * [I1] Entries are only added. A full node is copied, and the copy takes its place by one release store to the slot in
 *      its parent. The old node stays as it was (the arena frees nothing), and everything its readers can miss was
 *      added after they loaded their reference.
 * [I2] An entry is complete before it can be seen: in a list the count is stored last, in an indexed node the index,
 *      in a full node there is only the child.
 * [I3] All loads and stores of shared words are atomic and whole-word: also formally there is no data race.
 */
#include "mem/node.h"

enum { PREFETCH_WINDOW = 8 }; /* positions ahead, in nodes too large to fetch all children */

static unsigned count_of(const struct node *n)
{
    return atomic_load_explicit(&n->count, memory_order_acquire); /* acquire: [I2] */
}

static void key_put(_Atomic uint64_t *keys, unsigned i, unsigned byte, memory_order order)
{
    /* Only the writer stores here, so this need not be one atomic step. */
    uint64_t word = atomic_load_explicit(&keys[i / 8], memory_order_relaxed);
    atomic_store_explicit(&keys[i / 8], word | (uint64_t)byte << (i % 8 * 8), order);
}

/* ---- positions ------------------------------------------------------------------------------------------------- */

#if defined(__SSE2__)
/* 16 key bytes, and in *out_valid 0xff for those that are above `low`, below `high` and among the first `count`. */
static __m128i keys_between(const _Atomic uint64_t *keys, int count, int low, int high, __m128i *out_valid)
{
    uint64_t first = atomic_load_explicit(&keys[0], memory_order_relaxed);
    uint64_t second = atomic_load_explicit(&keys[1], memory_order_relaxed);
    __m128i bytes = _mm_set_epi64x((long long)second, (long long)first);
    __m128i indexes = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m128i valid = _mm_cmplt_epi8(indexes, _mm_set1_epi8((char)count));
    if (low >= 255 || high <= 0)
        valid = _mm_setzero_si128();
    if (low >= 0) /* bytes have no unsigned comparison: max(b, n) == b says b >= n */
        valid = _mm_and_si128(valid, _mm_cmpeq_epi8(_mm_max_epu8(bytes, _mm_set1_epi8((char)(low + 1))), bytes));
    if (high <= 255)
        valid = _mm_and_si128(valid, _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8((char)(high - 1))), bytes));
    *out_valid = valid;
    return bytes;
}

static int list16_next(const _Atomic uint64_t *keys, unsigned count, int pos)
{
    __m128i valid, m = keys_between(keys, (int)count, pos, POS_AFTER, &valid);
    if (_mm_movemask_epi8(valid) == 0)
        return POS_NONE;
    m = _mm_or_si128(m, _mm_xor_si128(valid, _mm_set1_epi8(-1)));
    m = _mm_min_epu8(m, _mm_srli_si128(m, 8));
    m = _mm_min_epu8(m, _mm_srli_si128(m, 4));
    m = _mm_min_epu8(m, _mm_srli_si128(m, 2));
    m = _mm_min_epu8(m, _mm_srli_si128(m, 1));
    return _mm_cvtsi128_si32(m) & 0xff;
}

static int list16_prev(const _Atomic uint64_t *keys, unsigned count, int pos)
{
    __m128i valid, m = keys_between(keys, (int)count, POS_TERMINAL, pos, &valid);
    if (_mm_movemask_epi8(valid) == 0)
        return POS_NONE;
    m = _mm_and_si128(m, valid);
    m = _mm_max_epu8(m, _mm_srli_si128(m, 8));
    m = _mm_max_epu8(m, _mm_srli_si128(m, 4));
    m = _mm_max_epu8(m, _mm_srli_si128(m, 2));
    m = _mm_max_epu8(m, _mm_srli_si128(m, 1));
    return _mm_cvtsi128_si32(m) & 0xff;
}
#else
static unsigned key_at(const _Atomic uint64_t *keys, unsigned i)
{
    return atomic_load_explicit(&keys[i / 8], memory_order_relaxed) >> (i % 8 * 8) & 0xff;
}

static int list16_next(const _Atomic uint64_t *keys, unsigned count, int pos)
{
    int best = POS_NONE;
    for (unsigned i = 0; i < count; i++) {
        int byte = (int)key_at(keys, i);
        if (byte > pos && byte < best)
            best = byte;
    }
    return best;
}

static int list16_prev(const _Atomic uint64_t *keys, unsigned count, int pos)
{
    int best = POS_NONE;
    for (unsigned i = 0; i < count; i++) {
        int byte = (int)key_at(keys, i);
        if (byte < pos && (best == POS_NONE || byte > best))
            best = byte;
    }
    return best;
}
#endif

static int list32_next(const _Atomic uint64_t *keys, unsigned count, int pos)
{
    int low = list16_next(keys, count < 16 ? count : 16, pos);
    int high = count > 16 ? list16_next(keys + 2, count - 16, pos) : POS_NONE;
    return low < high ? low : high; /* POS_NONE is above all */
}

static int list32_prev(const _Atomic uint64_t *keys, unsigned count, int pos)
{
    int low = list16_prev(keys, count < 16 ? count : 16, pos);
    int high = count > 16 ? list16_prev(keys + 2, count - 16, pos) : POS_NONE;
    if (low == POS_NONE || high == POS_NONE)
        return low < high ? low : high;
    return low > high ? low : high;
}

static int indexed_next(const struct node_indexed *n, int pos)
{
    for (unsigned i = (unsigned)(pos + 1); i < 256;) {
        uint64_t word = atomic_load_explicit(&n->index[i / 8], memory_order_acquire) >> (i % 8 * 8);
        if (word)
            return (int)(i + (unsigned)__builtin_ctzll(word) / 8);
        i = (i / 8 + 1) * 8;
    }
    return POS_NONE;
}

static int indexed_prev(const struct node_indexed *n, int pos)
{
    for (int i = pos - 1; i >= 0;) {
        uint64_t word = atomic_load_explicit(&n->index[i / 8], memory_order_acquire) << ((7 - i % 8) * 8);
        if (word)
            return i - (int)((unsigned)__builtin_clzll(word) / 8);
        i = i / 8 * 8 - 1;
    }
    return POS_NONE;
}

static int full_next(const struct node_full *n, int pos)
{
    for (int i = pos + 1; i < 256; i++)
        if (ref_load(&n->child[i]))
            return i;
    return POS_NONE;
}

static int full_prev(const struct node_full *n, int pos)
{
    for (int i = pos - 1; i >= 0; i--)
        if (ref_load(&n->child[i]))
            return i;
    return POS_NONE;
}

int node_next(uintptr_t ref, int pos)
{
    const struct node *n = ref_node(ref);
    if (pos < POS_TERMINAL && node_terminal(n))
        return POS_TERMINAL;
    if (pos < POS_TERMINAL)
        pos = POS_TERMINAL;
    switch (ref_kind(ref)) {
    case REF_LIST16:
        return list16_next(((const struct node_list16 *)n)->keys, count_of(n), pos);
    case REF_LIST32:
        return list32_next(((const struct node_list32 *)n)->keys, count_of(n), pos);
    case REF_INDEXED:
        return indexed_next((const struct node_indexed *)n, pos);
    default:
        return full_next((const struct node_full *)n, pos);
    }
}

static int child_prev(uintptr_t ref, int pos)
{
    const struct node *n = ref_node(ref);
    switch (ref_kind(ref)) {
    case REF_LIST16:
        return list16_prev(((const struct node_list16 *)n)->keys, count_of(n), pos);
    case REF_LIST32:
        return list32_prev(((const struct node_list32 *)n)->keys, count_of(n), pos);
    case REF_INDEXED:
        return indexed_prev((const struct node_indexed *)n, pos);
    default:
        return full_prev((const struct node_full *)n, pos);
    }
}

int node_prev(uintptr_t ref, int pos)
{
    if (pos <= POS_TERMINAL)
        return POS_NONE;
    int found = child_prev(ref, pos);
    return found == POS_NONE && node_terminal(ref_node(ref)) ? POS_TERMINAL : found;
}

/* ---- prefetching ------------------------------------------------------------------------------------------------- */

static void ref_prefetch(uintptr_t ref)
{
    __builtin_prefetch(ref_node(ref));
    __builtin_prefetch((const char *)ref_node(ref) + CACHE_LINE);
}

static void list_prefetch(const _Atomic uintptr_t *child, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        ref_prefetch(ref_load(&child[i]));
}

static void window_prefetch(uintptr_t ref, int from, int to, int step)
{
    for (int pos = from; pos != to; pos += step) {
        uintptr_t child = pos >= 0 && pos < 256 ? node_child(ref, (unsigned)pos) : 0;
        if (child)
            ref_prefetch(child);
    }
}

void node_prefetch_from(uintptr_t ref, int pos, int step)
{
    const struct node *n = ref_node(ref);
    switch (ref_kind(ref)) {
    case REF_LIST16:
        list_prefetch(((const struct node_list16 *)n)->child, count_of(n));
        break;
    case REF_LIST32:
        list_prefetch(((const struct node_list32 *)n)->child, count_of(n));
        break;
    default:
        window_prefetch(ref, pos + step, pos + (PREFETCH_WINDOW + 1) * step, step);
        break;
    }
}

void node_prefetch_moved(uintptr_t ref, int before, int pos, int step)
{
    int ahead = PREFETCH_WINDOW * step;
    if (ref_kind(ref) != REF_LIST16 && ref_kind(ref) != REF_LIST32) /* of a list, all are fetched at once */
        window_prefetch(ref, before + ahead + step, pos + ahead + step, step);
}

/* ---- adding and growing (writer only) ---------------------------------------------------------------------------- */

static size_t kind_size(enum ref_kind kind, unsigned capacity)
{
    switch (kind) {
    case REF_LIST16:
        return sizeof(struct node_list16) + capacity * sizeof(uintptr_t);
    case REF_LIST32:
        return sizeof(struct node_list32) + capacity * sizeof(uintptr_t);
    case REF_INDEXED:
        return sizeof(struct node_indexed);
    default:
        return sizeof(struct node_full);
    }
}

static uintptr_t kind_create(struct arena *arena, enum ref_kind kind, unsigned capacity, size_t level, uintptr_t sample)
{
    size_t size = kind_size(kind, capacity);
    struct node *n = arena_alloc(arena, size, CACHE_LINE);
    if (n == NULL)
        return 0;
    memset(n, 0, size); /* unreachable: atomics of a zeroed object are 0 on every platform we build for */
    n->level = (uint16_t)level;
    n->capacity = (uint16_t)capacity;
    atomic_init(&n->sample, sample);
    return (uintptr_t)n | kind;
}

uintptr_t node_create(struct arena *arena, size_t level, const struct leaf *sample)
{
    ASSERT(level < KEY_SIZE_MAX);
    return kind_create(arena, REF_LIST16, LIST16_SMALL, level, (uintptr_t)sample);
}

void node_set_terminal(struct node *n, const struct leaf *leaf)
{
    ASSERT(node_terminal(n) == NULL && leaf->key_size == n->level);
    ref_store(&n->sample, (uintptr_t)leaf | 1);
}

void node_add_fitting(uintptr_t ref, unsigned byte, uintptr_t child)
{
    struct node *n = ref_node(ref);
    unsigned count = count_of(n);
    ASSERT(count < n->capacity);
    switch (ref_kind(ref)) {
    case REF_LIST16:
        ref_store(&((struct node_list16 *)n)->child[count], child);
        key_put(((struct node_list16 *)n)->keys, count, byte, memory_order_relaxed); /* [I2]: the count publishes it */
        break;
    case REF_LIST32:
        ref_store(&((struct node_list32 *)n)->child[count], child);
        key_put(((struct node_list32 *)n)->keys, count, byte, memory_order_relaxed);
        break;
    case REF_INDEXED: {
        struct node_indexed *in = (struct node_indexed *)n;
        ref_store(&in->child[count], child);
        key_put(in->index, byte, count + 1, memory_order_release); /* [I2] */
        break;
    }
    default:
        ref_store(&((struct node_full *)n)->child[byte], child);
        break;
    }
    atomic_store_explicit(&n->count, (uint16_t)(count + 1), memory_order_release); /* [I2] */
}

/* A larger copy, or 0. */
static uintptr_t grown_copy(struct arena *arena, uintptr_t ref)
{
    static const struct {
        enum ref_kind kind;
        unsigned capacity;
    } sizes[] = {{REF_LIST16, LIST16_SMALL},
                 {REF_LIST16, LIST16_MAX},
                 {REF_LIST32, LIST32_MAX},
                 {REF_INDEXED, INDEXED_MAX},
                 {REF_FULL, 256}};
    const struct node *n = ref_node(ref);
    size_t i = 0;
    while (sizes[i].capacity <= n->capacity)
        i++;
    uintptr_t sample = atomic_load_explicit(&n->sample, memory_order_relaxed);
    uintptr_t copy = kind_create(arena, sizes[i].kind, sizes[i].capacity, n->level, sample);
    if (copy == 0)
        return 0;
    for (int pos = node_next(ref, POS_TERMINAL); pos != POS_NONE; pos = node_next(ref, pos))
        node_add_fitting(copy, (unsigned)pos, node_child(ref, (unsigned)pos));
    return copy;
}

bool node_add(struct arena *arena, _Atomic uintptr_t *slot, unsigned byte, uintptr_t child)
{
    uintptr_t ref = atomic_load_explicit(slot, memory_order_relaxed);
    if (count_of(ref_node(ref)) < ref_node(ref)->capacity) {
        node_add_fitting(ref, byte, child);
        return true;
    }
    uintptr_t copy = grown_copy(arena, ref);
    if (copy == 0)
        return false;
    node_add_fitting(copy, byte, child);
    ref_store(slot, copy); /* [I1] */
    return true;
}

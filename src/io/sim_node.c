// SPDX-License-Identifier: Apache-2.0
/*
 * A file of the simulated disk: its bytes as the running system sees them, and an undo log back to what is durable.
 *
 * The idea: the durable state is not kept as a second copy. Every unsynced change leaves a record of what stood there
 * before. A sync then only forgets the records; a power cut walks them from the newest to the oldest and decides,
 * sector by sector, whether that change is taken back. A sector of which a change was kept is settled: older changes of
 * it stay too, because what reaches a medium is the sector as it was at some moment. Different sectors are decided
 * independently, so that writes are torn and come in any order.
 *
 * [I1] Bytes from n->size to the capacity are zeros.
 * [I2] undo[i].size_before is the size before change i, so the sizes that the file had since its last sync are
 *      undo[0].size_before, ..., undo[count - 1].size_before, n->size.
 * [I3] Bytes with more than one reference (a clone, a mapping) are never written, a shared buffer's and a flipped bit
 *      excepted.
 * [I4] A page in lost[] is as it was written for the system, and clean: a sync leaves it there. A change of it makes it
 *      dirty as a whole: it goes to the undo log, with what the medium has.
 *
 * Cost: a write costs its bytes twice, a sync nothing, a clone nothing until somebody writes, a cut the sectors of the
 * records. Failure: no memory is -ENOMEM and nothing has changed; a cut asserts that there is some.
 */
#include <errno.h>

#include "base/alloc.h"
#include "io/sim_disk.h"

enum { BYTES_CAPACITY_MIN = 512 };

/* ---- bytes ---------------------------------------------------------------------------------------------------- */

void sim_bytes_unref(struct sim_bytes *b)
{
    /* acq_rel: the last holder sees everything that the others did with the bytes before it frees them */
    if (b == NULL || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    mem_free(b->data);
    mem_free(b);
}

static struct sim_bytes *bytes_ref(struct sim_bytes *b)
{
    if (b) /* relaxed: the caller holds a reference already */
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

static uint32_t bytes_refs(const struct sim_bytes *b)
{
    return atomic_load_explicit(&b->refs, memory_order_acquire);
}

/* A copy of the first `used` bytes, zeros behind them. */
static struct sim_bytes *bytes_create(const uint8_t *data, size_t used, size_t capacity, bool is_page_aligned)
{
    ASSERT(data != NULL || used == 0);
    struct sim_bytes *b = mem_alloc(sizeof *b);
    if (b == NULL)
        return NULL;
    b->data = is_page_aligned ? mem_alloc_aligned(PAGE_BYTES, capacity) : mem_alloc(capacity);
    if (b->data == NULL) {
        mem_free(b);
        return NULL;
    }
    atomic_init(&b->refs, 1);
    b->capacity = capacity;
    if (used > 0)
        memcpy(b->data, data, used);
    memset(b->data + used, 0, capacity - used);
    return b;
}

static size_t grown_capacity(size_t capacity, uint64_t wanted)
{
    size_t n = capacity > BYTES_CAPACITY_MIN ? capacity : BYTES_CAPACITY_MIN;
    while (n < wanted)
        n *= 2;
    return n;
}

/* Make the bytes ours alone [I3], with room for `end` of them. */
static int node_own_bytes(struct sim_node *n, uint64_t end)
{
    struct sim_bytes *b = n->bytes;
    if (end > SIZE_MAX / 4)
        return -EFBIG;
    if (b != NULL && bytes_refs(b) == 1 && b->capacity >= end)
        return 0;
    size_t capacity = grown_capacity(b ? b->capacity : 0, end);
    if (b == NULL || bytes_refs(b) > 1) {
        struct sim_bytes *own = bytes_create(b ? b->data : NULL, b ? n->size : 0, capacity, false);
        if (own == NULL)
            return -ENOMEM;
        sim_bytes_unref(b);
        n->bytes = own;
        return 0;
    }
    uint8_t *data = mem_realloc(b->data, capacity);
    if (data == NULL)
        return -ENOMEM;
    memset(data + b->capacity, 0, capacity - b->capacity);
    b->data = data;
    b->capacity = capacity;
    return 0;
}

int sim_node_pin_bytes(struct sim_node *n, struct sim_bytes **out_bytes)
{
    struct sim_bytes *b = n->bytes;
    size_t pages = align_up(n->size ? n->size : 1, PAGE_BYTES);
    if (b == NULL || b->capacity < pages || (uintptr_t)b->data % PAGE_BYTES != 0) {
        struct sim_bytes *aligned = bytes_create(b ? b->data : NULL, n->size, pages, true);
        if (aligned == NULL)
            return -ENOMEM;
        sim_bytes_unref(b);
        n->bytes = aligned;
    }
    *out_bytes = bytes_ref(n->bytes);
    return 0;
}

/* ---- nodes ---------------------------------------------------------------------------------------------------- */

struct sim_node *sim_node_create(bool is_dir)
{
    struct sim_node *n = mem_zalloc(sizeof *n);
    if (n) {
        n->refs = 1;
        n->is_dir = is_dir;
    }
    return n;
}

void sim_node_unref(struct sim_node *n)
{
    if (n == NULL || --n->refs > 0)
        return;
    sim_dir_clear(n);
    sim_bytes_unref(n->bytes);
    mem_free(n->undo);
    buf_deinit(&n->undo_bytes);
    mem_free(n->shared_base);
    mem_free(n->lost);
    mem_free(n);
}

/* Defined with the shared buffers below. */
static int shared_copy(const struct sim_node *from, struct sim_node *to);

int sim_node_copy(const struct sim_node *from, struct sim_node *to)
{
    if (mem_grow(&to->undo, &to->undo_capacity, from->undo_count, sizeof *to->undo) != NOKV_OK ||
        mem_grow(&to->lost, &to->lost_capacity, from->lost_count, sizeof *to->lost) != NOKV_OK ||
        (from->undo_bytes.size > 0 &&
         buf_append(&to->undo_bytes, from->undo_bytes.data, from->undo_bytes.size) != NOKV_OK))
        return -ENOMEM;
    if (from->undo_count > 0)
        memcpy(to->undo, from->undo, from->undo_count * sizeof *to->undo);
    to->undo_count = from->undo_count;
    if (from->lost_count > 0)
        memcpy(to->lost, from->lost, from->lost_count * sizeof *to->lost);
    to->lost_count = from->lost_count;
    to->size = from->size;
    to->charged = from->charged;
    to->links = from->links;
    if (from->shared_base)
        return shared_copy(from, to);
    to->bytes = bytes_ref(from->bytes);
    return 0;
}

/* ---- changes -------------------------------------------------------------------------------------------------- */

/* Remember [off, off + size) as it is, or as `old` says. */
static int undo_push(struct sim_node *n, uint64_t off, uint64_t size, const uint8_t *old)
{
    uint64_t old_size = old ? size : off < n->size ? u64_min(size, n->size - off) : 0;
    if (mem_grow(&n->undo, &n->undo_capacity, n->undo_count + 1, sizeof *n->undo) != NOKV_OK)
        return -ENOMEM;
    size_t old_at = n->undo_bytes.size;
    if (old_size > 0 && buf_append(&n->undo_bytes, old ? old : n->bytes->data + off, old_size) != NOKV_OK)
        return -ENOMEM;
    n->undo[n->undo_count++] =
        (struct sim_undo){.off = off, .size = size, .old_size = old_size, .size_before = n->size, .old_at = old_at};
    return 0;
}

/* REQUIRES: there are records; without one, what is written durably needs no trace. */
static int undo_push_durable(struct sim_node *n, uint64_t off, uint64_t size)
{
    if (mem_grow(&n->undo, &n->undo_capacity, n->undo_count + 1, sizeof *n->undo) != NOKV_OK)
        return -ENOMEM;
    n->undo[n->undo_count++] = (struct sim_undo){.off = off, .size = size, .size_before = n->size, .is_durable = true};
    return 0;
}

/* Bytes of [off, off + size) change. [I4] */
static int lost_dirty(struct sim_node *n, uint64_t off, uint64_t size)
{
    for (size_t i = n->lost_count; i-- > 0;) {
        uint64_t begin = n->lost[i].page * PAGE_BYTES;
        if (begin >= off + size || begin + PAGE_BYTES <= off)
            continue;
        int rc = undo_push(n, begin, PAGE_BYTES, n->lost[i].durable);
        if (rc < 0)
            return rc;
        n->lost[i] = n->lost[--n->lost_count];
    }
    return 0;
}

int sim_node_write(struct sim_node *n, const void *data, uint64_t size, uint64_t off, bool is_durable)
{
    ASSERT(n->maps == 0 && size > 0); /* a data file is never written while it is mapped */
    int rc = node_own_bytes(n, off + size);
    if (rc == 0)
        rc = lost_dirty(n, off, size);
    if (rc == 0 && !is_durable)
        rc = undo_push(n, off, size, NULL);
    else if (rc == 0 && n->undo_count > 0)
        rc = undo_push_durable(n, off, size);
    if (rc < 0)
        return rc;
    memcpy(n->bytes->data + off, data, size);
    n->size = u64_max(n->size, off + size);
    return 0;
}

int sim_node_resize(struct sim_node *n, uint64_t size)
{
    ASSERT(n->maps == 0); /* a mapped file never shrinks */
    int rc = node_own_bytes(n, size);
    if (rc < 0 || size == n->size)
        return rc;
    uint64_t cut = size < n->size ? n->size - size : 0;
    rc = lost_dirty(n, u64_min(size, n->size), cut);
    if (rc == 0)
        rc = undo_push(n, u64_min(size, n->size), cut, NULL);
    if (rc < 0)
        return rc;
    if (cut > 0)
        memset(n->bytes->data + size, 0, cut); /* [I1] */
    n->size = size;
    return 0;
}

static void undo_forget(struct sim_node *n)
{
    n->undo_count = 0;
    n->undo_bytes.size = 0;
}

void sim_node_sync(struct sim_node *n)
{
    undo_forget(n);
    if (n->shared_base)
        memcpy(n->shared_base, n->bytes->data, n->size);
}

/* ---- going back ----------------------------------------------------------------------------------------------- */

enum cut_mode {
    CUT_KEEP,   /* the kernel had just written everything back */
    CUT_DROP,   /* ... nothing at all */
    CUT_PREFIX, /* ... in order, up to the middle of some change */
    CUT_MIXED,  /* each change on its own: kept, dropped or torn */
    CUT_MODES
};

struct cut {
    enum cut_mode mode;
    size_t prefix; /* CUT_PREFIX: changes before this one are kept, it is torn */
    uint64_t *random;
    uint8_t *settled; /* a bit per sector */
};

enum verdict { VERDICT_KEEP, VERDICT_DROP, VERDICT_TORN, VERDICTS };

static enum verdict cut_verdict(const struct cut *cut, size_t index)
{
    switch (cut->mode) {
    case CUT_KEEP:
        return VERDICT_KEEP;
    case CUT_PREFIX:
        return index < cut->prefix ? VERDICT_KEEP : index == cut->prefix ? VERDICT_TORN : VERDICT_DROP;
    case CUT_MIXED:
        return (enum verdict)(sim_draw(cut->random) % VERDICTS);
    default:
        return VERDICT_DROP;
    }
}

/* Put back what stood in [from, to) before the change. */
static void undo_restore(struct sim_node *n, const struct sim_undo *u, uint64_t from, uint64_t to)
{
    uint64_t old_end = u->off + u->old_size;
    uint64_t middle = old_end < from ? from : u64_min(old_end, to);
    if (middle > from)
        memcpy(n->bytes->data + from, n->undo_bytes.data + u->old_at + (from - u->off), middle - from);
    if (to > middle)
        memset(n->bytes->data + middle, 0, to - middle);
}

static void undo_one(struct sim_node *n, const struct sim_undo *u, enum verdict verdict, struct cut *cut)
{
    uint64_t end = u->off + u->size;
    for (uint64_t at = u->off; at < end;) {
        uint64_t sector = at / SIM_SECTOR, next = u64_min(end, (sector + 1) * SIM_SECTOR);
        uint8_t *byte = &cut->settled[sector / 8], bit = (uint8_t)(1u << sector % 8);
        bool keep = verdict == VERDICT_KEEP || (verdict == VERDICT_TORN && sim_one_in(cut->random, 2));
        if (keep)
            *byte |= bit;
        else if (!(*byte & bit))
            undo_restore(n, u, at, next);
        at = next;
    }
}

/* The furthest byte that a change touched or that the file ever had. */
static uint64_t undo_extent(const struct sim_node *n)
{
    uint64_t extent = n->size;
    for (size_t i = 0; i < n->undo_count; i++)
        extent = u64_max(extent, u64_max(n->undo[i].size_before, n->undo[i].off + n->undo[i].size));
    return extent;
}

/* Take changes back as `cut` decides. Leaves bytes beyond n->size behind: the caller sets the size [I1]. */
static int undo_walk(struct sim_node *n, struct cut *cut)
{
    uint64_t extent = undo_extent(n);
    int rc = node_own_bytes(n, extent);
    if (rc < 0)
        return rc;
    cut->settled = mem_zalloc(extent / SIM_SECTOR / 8 + 1);
    if (cut->settled == NULL)
        return -ENOMEM;
    for (size_t i = n->undo_count; i-- > 0;)
        undo_one(n, &n->undo[i], n->undo[i].is_durable ? VERDICT_KEEP : cut_verdict(cut, i), cut);
    mem_free(TAKE(cut->settled));
    return 0;
}

static void set_final_size(struct sim_node *n, uint64_t size, uint64_t extent)
{
    if (extent > size)
        memset(n->bytes->data + size, 0, extent - size);
    n->size = size;
}

/* The first of the file's sizes [I2] that is possible: behind the last durable write. */
static size_t first_possible_size(const struct sim_node *n)
{
    for (size_t i = n->undo_count; i-- > 0;) {
        if (n->undo[i].is_durable)
            return i + 1;
    }
    return 0;
}

static uint64_t size_at(const struct sim_node *n, size_t index)
{
    return index < n->undo_count ? n->undo[index].size_before : n->size;
}

int sim_node_drop_unsynced(struct sim_node *n)
{
    if (n->undo_count == 0)
        return 0;
    struct cut cut = {.mode = CUT_DROP};
    uint64_t extent = undo_extent(n), size = n->size, durable_size = size_at(n, first_possible_size(n));
    int rc = undo_walk(n, &cut);
    if (rc < 0)
        return rc;
    set_final_size(n, size, extent);
    undo_forget(n);
    if (durable_size < size) /* there was a record, so there is room for this one */
        n->undo[n->undo_count++] = (struct sim_undo){.off = durable_size, .size_before = durable_size};
    return 0;
}

/* Page `page` of some bytes, zeros behind them. */
static void page_copy(const struct sim_node *n, const struct sim_bytes *b, uint64_t page, uint8_t out[PAGE_BYTES])
{
    uint64_t off = page * PAGE_BYTES, size = off < n->size ? u64_min(PAGE_BYTES, n->size - off) : 0;
    memset(out, 0, PAGE_BYTES);
    if (size > 0)
        memcpy(out, b->data + off, size);
}

/* Note each page that is not the same in `view` and, as the medium has it, in the file. */
static int lost_note(struct sim_node *n, const struct sim_bytes *view)
{
    for (uint64_t page = 0; page * PAGE_BYTES < n->size; page++) {
        uint8_t shown[PAGE_BYTES], durable[PAGE_BYTES];
        page_copy(n, view, page, shown);
        page_copy(n, n->bytes, page, durable);
        if (memcmp(shown, durable, PAGE_BYTES) == 0)
            continue;
        if (mem_grow(&n->lost, &n->lost_capacity, n->lost_count + 1, sizeof *n->lost) != NOKV_OK)
            return -ENOMEM;
        n->lost[n->lost_count].page = page;
        memcpy(n->lost[n->lost_count++].durable, durable, PAGE_BYTES);
    }
    return 0;
}

int sim_node_lose_unsynced(struct sim_node *n)
{
    struct sim_bytes *view = bytes_ref(n->bytes);
    int rc = sim_node_drop_unsynced(n);
    if (rc == 0 && view != NULL)
        rc = lost_note(n, view);
    if (rc < 0 || view == NULL) {
        sim_bytes_unref(view);
        return rc;
    }
    sim_bytes_unref(n->bytes);
    n->bytes = view;
    return 0;
}

static void lost_restore(struct sim_node *n)
{
    if (n->lost_count > 0)
        ASSERT(node_own_bytes(n, n->size) == 0);
    for (size_t i = 0; i < n->lost_count; i++) {
        uint64_t off = n->lost[i].page * PAGE_BYTES;
        if (off < n->size)
            memcpy(n->bytes->data + off, n->lost[i].durable, u64_min(PAGE_BYTES, n->size - off));
    }
    n->lost_count = 0;
}

static size_t choose_size(const struct sim_node *n, const struct cut *cut)
{
    size_t first = first_possible_size(n), last = n->undo_count;
    if (cut->mode == CUT_KEEP)
        return last;
    if (cut->mode == CUT_DROP)
        return first;
    if (cut->mode == CUT_PREFIX && cut->prefix >= first && sim_one_in(cut->random, 2))
        return cut->prefix;
    switch (sim_draw(cut->random) % 3) {
    case 0:
        return first;
    case 1:
        return last;
    default:
        return first + sim_draw(cut->random) % (last - first + 1);
    }
}

static void undo_cut(struct sim_node *n, uint64_t *random)
{
    if (n->undo_count == 0)
        return;
    static const enum cut_mode modes[8] = {CUT_KEEP,  CUT_DROP,  CUT_PREFIX, CUT_PREFIX,
                                           CUT_MIXED, CUT_MIXED, CUT_MIXED,  CUT_MIXED};
    struct cut cut = {.mode = modes[sim_draw(random) % 8], .random = random};
    cut.prefix = sim_draw(random) % n->undo_count;
    uint64_t extent = undo_extent(n), size = size_at(n, choose_size(n, &cut));
    ASSERT(undo_walk(n, &cut) == 0); /* a tool of tests: there is nobody to tell */
    set_final_size(n, size, extent);
    undo_forget(n);
}

void sim_node_power_cut(struct sim_node *n, uint64_t *random)
{
    undo_cut(n, random);
    lost_restore(n);
}

/* ---- shared buffers and damage -------------------------------------------------------------------------------- */

/* Room for what the end will note, which has nobody to tell that memory is short: at most every other sector. */
static int shared_end_reserve(struct sim_node *n)
{
    size_t runs = (size_t)(n->size / SIM_SECTOR / 2 + 1);
    if (mem_grow(&n->undo, &n->undo_capacity, n->undo_count + runs, sizeof *n->undo) != NOKV_OK)
        return -ENOMEM;
    return buf_reserve(&n->undo_bytes, (size_t)n->size) ? 0 : -ENOMEM;
}

int sim_node_shared_begin(struct sim_node *n, uint8_t **out_data)
{
    struct sim_bytes *b = NULL;
    ASSERT(n->maps == 0 && n->shared_base == NULL);
    int rc = node_own_bytes(n, n->size); /* stores come without notice, so no clone may share these */
    if (rc == 0)
        rc = sim_node_pin_bytes(n, &b);
    if (rc < 0)
        return rc;
    n->shared_base = mem_alloc(n->size);
    if (n->shared_base == NULL || shared_end_reserve(n) < 0) {
        mem_free(TAKE(n->shared_base));
        sim_bytes_unref(b);
        return -ENOMEM;
    }
    memcpy(n->shared_base, b->data, n->size);
    n->maps++;
    *out_data = b->data;
    return 0;
}

static bool sector_differs(const struct sim_node *n, uint64_t off)
{
    return memcmp(n->shared_base + off, n->bytes->data + off, u64_min(SIM_SECTOR, n->size - off)) != 0;
}

/* The stores into the buffer `n` become unsynced changes of `to`, one for each run of sectors that differ. */
static int shared_note_stores(const struct sim_node *n, struct sim_node *to)
{
    for (uint64_t at = 0; at < n->size;) {
        uint64_t end = at;
        while (end < n->size && sector_differs(n, end))
            end = u64_min(end + SIM_SECTOR, n->size);
        /* A failure of memory that a test planned comes once: the second try is the real one. */
        if (end > at && undo_push(to, at, end - at, n->shared_base + at) != 0 &&
            undo_push(to, at, end - at, n->shared_base + at) != 0)
            return -ENOMEM; /* GCOV_EXCL_LINE: the machine is out of memory; what a test plans fails once */
        at = end > at ? end : at + SIM_SECTOR;
    }
    return 0;
}

static int shared_copy(const struct sim_node *from, struct sim_node *to)
{
    to->bytes = bytes_create(from->bytes->data, from->size, from->bytes->capacity, false);
    return to->bytes == NULL ? -ENOMEM : shared_note_stores(from, to);
}

void sim_node_shared_end(struct sim_node *n)
{
    ASSERT(shared_note_stores(n, n) == 0); /* the beginning has reserved the memory */
    mem_free(TAKE(n->shared_base));
    n->maps--;
    sim_bytes_unref(n->bytes); /* the reference of sim_node_pin_bytes */
}

static void flip(uint8_t *byte, unsigned bit)
{
    *byte ^= (uint8_t)(1u << bit);
}

int sim_node_flip(struct sim_node *n, uint64_t off, unsigned bit)
{
    if (n->is_dir || off >= n->size || bit > 7)
        return -EINVAL;
    /* mapped, and by no clone: the mapping is to show it, as a real one would */
    if (bytes_refs(n->bytes) != 1 + n->maps) {
        int rc = node_own_bytes(n, n->size);
        if (rc < 0)
            return rc;
    }
    flip(&n->bytes->data[off], bit);
    if (n->shared_base)
        flip(&n->shared_base[off], bit);
    for (size_t i = 0; i < n->undo_count; i++) {
        const struct sim_undo *u = &n->undo[i];
        if (off >= u->off && off - u->off < u->old_size)
            flip(&n->undo_bytes.data[u->old_at + (off - u->off)], bit);
    }
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Damage at rest: one bit of one file is another one, a file is cut short, a block of it is zeros, or is that of
 * another place or of an earlier time. Whatever is asked of the database then, it gives the right answer or says
 * CORRUPT (for the end of the last log: or the state before); it never gives a wrong answer, crashes, or goes on for
 * ever.
 *
 * Every bit of metadata is flipped and one in 64 of the others, each on a copy of the disk. Where a format claims to
 * notice every bit (`must`), something has to report it, by the name of the file; elsewhere what nothing reports is
 * counted, and bounded by what is known to mean nothing.
 *
 * Arguments: none (a slice by NOKV_TEST_SEED), `all [PART OF]` (all flips, or one of so many parts of them), or
 * `one KIND PATH OFF BIT` to repeat a single flip.
 */
#include "flip_scene.h"
#include "lsm/names.h"

enum { SLICE_FLIPS = 20000, DATA_STEP = 64, REGIONS_MAX = 4096, FILE_MAX = 2 << 20, BLOCK = 4096 };

static const char *const kind_names[SCENE_KIND_COUNT] = {"killed", "closed", "flushed"};
static uint64_t seed;
static bool is_all;
static uint64_t part, parts = 1;

/* ---- what there is to flip --------------------------------------------------------------------------------------- */

enum row {
    ROW_CURRENT,
    ROW_MANIFEST,
    ROW_LOG_SEALED,
    ROW_LOG_LAST,
    ROW_LOG_SPACE,
    ROW_WALBUF,
    ROW_OLD_LAPS,
    ROW_CLAIMS,
    ROW_VALUE_BUFFERS,
    ROW_TABLE_FRAME,
    ROW_TABLE_DATA,
    ROW_TABLE_FILTER,
    ROW_TABLE_INDEX,
    ROW_TABLE_PROPERTIES,
    ROW_SEGMENT_FRAME,
    ROW_SEGMENT_HEADS,
    ROW_SEGMENT_VALUES,
    ROW_SEGMENT_PADDING,
    ROW_OPEN_SEGMENT_FRAME,
    ROW_OPEN_SEGMENT,
    ROW_COUNT
};

/* How many bits apart; does the format claim to notice each. */
static const struct {
    const char *name;
    uint64_t step;
    bool must;
} rows[ROW_COUNT] = {
    [ROW_CURRENT] = {"CURRENT", 1, true},
    [ROW_MANIFEST] = {"MANIFEST records", 1, false},
    [ROW_LOG_SEALED] = {"WAL, vouched for", 1, true},
    [ROW_LOG_LAST] = {"WAL, the last", 1, false},
    [ROW_LOG_SPACE] = {"logs, reserved space", DATA_STEP, false},
    [ROW_WALBUF] = {"WALBUF, the last log's", 1, false},
    [ROW_OLD_LAPS] = {"WALBUF, earlier bytes", DATA_STEP, false},
    [ROW_CLAIMS] = {"VLOGBUF claims", 1, false},
    [ROW_VALUE_BUFFERS] = {"VLOGBUF buffers", DATA_STEP, false},
    [ROW_TABLE_FRAME] = {"table header, footer", 1, true},
    [ROW_TABLE_DATA] = {"table data", DATA_STEP, true},
    [ROW_TABLE_FILTER] = {"table filter", 1, true},
    [ROW_TABLE_INDEX] = {"table index", 1, true},
    [ROW_TABLE_PROPERTIES] = {"table properties", 1, true},
    [ROW_SEGMENT_FRAME] = {"segment header, footer", 1, true},
    [ROW_SEGMENT_HEADS] = {"segment record heads", 1, true},
    [ROW_SEGMENT_VALUES] = {"segment values", DATA_STEP, true},
    [ROW_SEGMENT_PADDING] = {"segment padding", DATA_STEP, false},
    [ROW_OPEN_SEGMENT_FRAME] = {"unsealed segment header", 1, false},
    [ROW_OPEN_SEGMENT] = {"unsealed segment", DATA_STEP, false},
};

struct region {
    char path[64];
    enum row row;
    uint64_t off, size;
    uint64_t floor; /* writes that a flip here may not take away */
};

struct tally {
    uint64_t bits, verdicts[VERDICT_COUNT], unnamed;
    char unnamed_message[512];
};

struct work {
    struct scene scene;
    enum scene_kind kind;
    struct region regions[REGIONS_MAX];
    size_t count;
    struct tally tallies[ROW_COUNT];
};

/* ---- files of a disk at rest ------------------------------------------------------------------------------------ */

struct names {
    char paths[SCENE_FILES_MAX][64];
    uint64_t sizes[SCENE_FILES_MAX];
    size_t count;
};

static bool names_add(void *arg, const char *path, uint64_t size)
{
    struct names *n = arg;
    assert_true(n->count < SCENE_FILES_MAX);
    snprintf(n->paths[n->count], sizeof n->paths[0], "%s", path);
    n->sizes[n->count++] = size;
    return true;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* UINT64_MAX: it is not there. */
static uint64_t file_read(struct sim *sim, const char *path, uint8_t *out)
{
    struct io *io = NULL;
    struct io_file *file = NULL;
    size_t size = UINT64_MAX;
    OK(sim_io_create(sim, &io));
    if (io_exists(io, path)) {
        OK(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file));
        OK(io_pread(file, out, FILE_MAX, 0, &size));
        OK(io_close(file));
    }
    io_destroy(io);
    return size;
}

static void file_write(struct sim *sim, const char *path, const uint8_t *data, uint64_t size)
{
    struct io *io = NULL;
    struct io_file *file = NULL;
    OK(sim_io_create(sim, &io));
    OK(io_open(io, path, IO_OTHER, IO_STD, IO_READ | IO_WRITE, &file));
    OK(io_truncate(file, size));
    if (size > 0)
        OK(io_pwrite(file, data, size, 0));
    OK(io_sync(file));
    OK(io_close(file));
    io_destroy(io);
}

static void file_remove(struct sim *sim, const char *path)
{
    struct io *io = NULL;
    OK(sim_io_create(sim, &io));
    OK(io_unlink(io, path));
    io_destroy(io);
}

/* ---- regions ----------------------------------------------------------------------------------------------------- */

static void region_add(struct work *w, const char *path, enum row row, uint64_t off, uint64_t size)
{
    static const bool may_shorten[ROW_COUNT] = {
        [ROW_LOG_LAST] = true,      [ROW_WALBUF] = true,    [ROW_CLAIMS] = true,
        [ROW_VALUE_BUFFERS] = true, [ROW_LOG_SPACE] = true, [ROW_OPEN_SEGMENT] = true};
    if (size == 0)
        return;
    assert_true(w->count < REGIONS_MAX);
    struct region *r = &w->regions[w->count++];
    *r = (struct region){.row = row, .off = off, .size = size};
    r->floor = may_shorten[row] ? w->scene.marked_seq : w->scene.count;
    snprintf(r->path, sizeof r->path, "%s", path);
}

static uint64_t data_end(const uint8_t *data, uint64_t size)
{
    while (size > 0 && data[size - 1] == 0)
        size--;
    return size;
}

static void log_regions(struct work *w, const char *path, enum row row, const uint8_t *data, uint64_t size)
{
    uint64_t end = data_end(data, size);
    end = align_up(end, 8) < size ? align_up(end, 8) : size;
    region_add(w, path, row, 0, end);
    region_add(w, path, ROW_LOG_SPACE, end, size - end);
}

static void table_regions(struct work *w, struct sim *sim, const char *path, uint64_t size)
{
    struct io *io = NULL;
    struct io_file *file = NULL;
    struct sst_extents e;
    OK(sim_io_create(sim, &io));
    OK(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file));
    OK(sst_extents_read(file, &e));
    OK(io_close(file));
    io_destroy(io);
    region_add(w, path, ROW_TABLE_FRAME, 0, PAGE_BYTES);
    region_add(w, path, ROW_TABLE_DATA, e.data.off, e.data.size);
    region_add(w, path, ROW_TABLE_FILTER, e.filter.off, e.filter.size);
    region_add(w, path, ROW_TABLE_INDEX, e.index.off, e.index.size);
    region_add(w, path, ROW_TABLE_PROPERTIES, e.properties.off, e.properties.size);
    region_add(w, path, ROW_TABLE_FRAME, size - PAGE_BYTES, PAGE_BYTES);
}

/* Heads: header and key; checksums of chunks and the zeros behind them. Between records: padding. */
static uint64_t record_regions(struct work *w, const char *path, const struct vlog_record *r, uint64_t end)
{
    uint64_t head = 32 + r->key.user.size, next = r->off + vlog_record_size(r->key.user.size, r->value_size);
    region_add(w, path, ROW_SEGMENT_PADDING, end, r->off - end);
    region_add(w, path, ROW_SEGMENT_HEADS, r->off, head);
    region_add(w, path, ROW_SEGMENT_VALUES, r->off + head, r->value_size);
    region_add(w, path, ROW_SEGMENT_HEADS, r->off + head + r->value_size, next - r->off - head - r->value_size);
    return next;
}

static void segment_regions(struct work *w, struct sim *sim, const char *path, uint64_t size)
{
    struct io *io = NULL;
    struct vlog_scan *scan = NULL;
    struct vlog_record record;
    uint64_t end = PAGE_BYTES;
    OK(sim_io_create(sim, &io));
    OK(vlog_scan_open(&(struct vlog_scan_options){.io = io, .path = path, .component = IO_OTHER, .model = IO_STD},
                      &scan));
    bool is_sealed = vlog_scan_totals(scan).sealed;
    region_add(w, path, is_sealed ? ROW_SEGMENT_FRAME : ROW_OPEN_SEGMENT_FRAME, 0, PAGE_BYTES);
    for (bool more = is_sealed; more;) {
        OK(vlog_scan_next(scan, &record, &more));
        if (more)
            end = record_regions(w, path, &record, end);
    }
    if (is_sealed) {
        region_add(w, path, ROW_SEGMENT_PADDING, end, size - PAGE_BYTES - end);
        region_add(w, path, ROW_SEGMENT_FRAME, size - PAGE_BYTES, PAGE_BYTES);
    } else {
        region_add(w, path, ROW_OPEN_SEGMENT, PAGE_BYTES, size - PAGE_BYTES);
    }
    vlog_scan_close(scan);
    io_destroy(io);
}

static void buffer_regions(struct work *w, const char *path, uint64_t size)
{
    uint64_t set = vlog_shared_bytes(vlog_buffer_bytes(w->scene.options.vlog_segment_bytes));
    for (uint64_t off = 0; off + set <= size; off += set) {
        region_add(w, path, ROW_CLAIMS, off, PAGE_BYTES);
        region_add(w, path, ROW_VALUE_BUFFERS, off + PAGE_BYTES, set - PAGE_BYTES);
    }
}

static uint64_t last_log(const struct names *n)
{
    uint64_t last = 0, number;
    for (size_t i = 0; i < n->count; i++)
        if (file_type_of(last_part(n->paths[i]), &number) == FILE_WAL)
            last = u64_max(last, number);
    return last;
}

/* `small`: only the files that the kinds of scenes differ in. */
static void regions_make(struct work *w, bool small)
{
    static uint8_t data[FILE_MAX];
    struct names n = {0};
    sim_each_file(w->scene.sim, names_add, &n);
    for (size_t i = 0; i < n.count; i++) {
        const char *path = n.paths[i];
        uint64_t number, size = file_read(w->scene.sim, path, data);
        switch (file_type_of(last_part(path), &number)) {
        case FILE_CURRENT:
            region_add(w, path, ROW_CURRENT, 0, size);
            break;
        case FILE_MANIFEST:
            log_regions(w, path, ROW_MANIFEST, data, size);
            break;
        case FILE_WAL:
            log_regions(w, path, number == last_log(&n) ? ROW_LOG_LAST : ROW_LOG_SEALED, data, size);
            break;
        case FILE_WALBUF:
            region_add(w, path, ROW_WALBUF, 0, w->scene.log_end);
            region_add(w, path, ROW_OLD_LAPS, w->scene.log_end, size - w->scene.log_end);
            break;
        case FILE_VLOGBUF:
            if (!small)
                buffer_regions(w, path, size);
            break;
        case FILE_SST:
            if (!small)
                table_regions(w, w->scene.sim, path, size);
            break;
        case FILE_VLOG:
            if (!small)
                segment_regions(w, w->scene.sim, path, size);
            break;
        default:
            break;
        }
    }
}

/* ---- flips ------------------------------------------------------------------------------------------------------- */

static void tally_add(struct tally *t, const struct answer *a)
{
    t->verdicts[a->verdict]++;
    if (a->verdict >= VERDICT_SHORTER || a->is_named)
        return;
    t->unnamed++;
    snprintf(t->unnamed_message, sizeof t->unnamed_message, "%s", a->message);
}

static void flip_one(struct work *w, const struct region *r, uint64_t off, unsigned bit, bool read_only)
{
    char what[160];
    struct sim *copy = NULL;
    struct answer answer;
    snprintf(what, sizeof what, "flip_test one %s %s %llu %u%s", kind_names[w->kind], r->path, (unsigned long long)off,
             bit, read_only ? " (read-only)" : "");
    OK(sim_clone(w->scene.sim, &copy));
    OK(sim_flip_bit(copy, r->path, off, bit));
    scene_ask(&w->scene, copy, read_only, last_part(r->path), r->floor, what, &answer);
    sim_destroy(copy);
    if (rows[r->row].must && answer.verdict >= VERDICT_SHORTER)
        fail_msg("%s: nothing reports it, and the format claims to", what);
    tally_add(&w->tallies[r->row], &answer);
}

static uint64_t flips_of(const struct region *r)
{
    uint64_t step = rows[r->row].step;
    return (r->size * 8 + step - 1) / step;
}

/* Flip number `n` of the region; of those that are not all done, which of the `step` bits comes from the seed. */
static void region_flip(struct work *w, const struct region *r, uint64_t n)
{
    uint64_t step = rows[r->row].step, state = seed + n;
    uint64_t at = n * step + (step > 1 ? test_random(&state) % step : 0);
    if (at >= r->size * 8)
        at = r->size * 8 - 1;
    flip_one(w, r, r->off + at / 8, (unsigned)(at % 8), n % 8 == 7);
}

static uint64_t flips_run(struct work *w, uint64_t stride, uint64_t first)
{
    uint64_t number = 0, done = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct region *r = &w->regions[i];
        uint64_t flips = flips_of(r);
        w->tallies[r->row].bits += r->size * 8;
        for (uint64_t n = 0; n < flips; n++, number++) {
            if (number % stride != first)
                continue;
            region_flip(w, r, n);
            done++;
        }
    }
    return done;
}

static void tallies_print(const struct work *w)
{
    printf("%-8s %-24s %10s %9s %9s %9s %9s %9s %9s %8s\n", kind_names[w->kind], "region", "bits", "flips", "refused",
           "by reads", "by verify", "shorter", "silent", "unnamed");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct tally *t = &w->tallies[i];
        uint64_t flips = 0;
        for (size_t v = 0; v < VERDICT_COUNT; v++)
            flips += t->verdicts[v];
        if (flips == 0)
            continue;
        printf("         %-24s %10llu %9llu", rows[i].name, (unsigned long long)t->bits, (unsigned long long)flips);
        for (size_t v = 0; v < VERDICT_COUNT; v++)
            printf(" %9llu", (unsigned long long)t->verdicts[v]);
        printf(" %8llu\n", (unsigned long long)t->unnamed);
        if (t->unnamed)
            printf("         unnamed, for example: %s\n", t->unnamed_message);
    }
}

static struct work *work_make(enum scene_kind kind)
{
    struct work *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->kind = kind;
    scene_build(&w->scene, kind);
    return w;
}

static void work_free(struct work *w)
{
    scene_deinit(&w->scene);
    free(w);
}

static void undamaged_check(struct work *w)
{
    struct sim *copy = NULL;
    struct answer answer;
    OK(sim_clone(w->scene.sim, &copy));
    scene_ask(&w->scene, copy, false, "none", w->scene.count, "undamaged", &answer);
    if (answer.verdict != VERDICT_SILENT)
        fail_msg("undamaged, and yet: %s", answer.message);
    sim_destroy(copy);
}

static void kind_flips(enum scene_kind kind, uint64_t slice)
{
    struct work *w = work_make(kind);
    uint64_t total = 0;
    undamaged_check(w);
    regions_make(w, kind != SCENE_KILLED);
    for (size_t i = 0; i < w->count; i++)
        total += flips_of(&w->regions[i]);
    uint64_t stride = is_all ? parts : total / slice + 1, first = is_all ? part : seed % stride;
    uint64_t done = flips_run(w, stride, first);
    tallies_print(w);
    printf("%s: %llu flips of %llu\n", kind_names[kind], (unsigned long long)done, (unsigned long long)total);
    assert_true(done >= total / stride);
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (rows[i].must && w->tallies[i].unnamed > 0 && i != ROW_LOG_SEALED)
            fail_msg("%s: %llu reports do not name the file: %s", rows[i].name,
                     (unsigned long long)w->tallies[i].unnamed, w->tallies[i].unnamed_message);
    work_free(w);
}

/* One flipped bit, anywhere in files of every kind: the right answer, or CORRUPT. */
static void test_flips_of_a_killed_database(void **state)
{
    (void)state;
    kind_flips(SCENE_KILLED, SLICE_FLIPS);
}

/* The same in the logs of one that was closed. */
static void test_flips_of_a_closed_database(void **state)
{
    (void)state;
    kind_flips(SCENE_CLOSED, SLICE_FLIPS / 6);
}

/* The same in the logs of one that died behind a flush, whose last edit nothing marks as durable. */
static void test_flips_behind_a_flush(void **state)
{
    (void)state;
    kind_flips(SCENE_FLUSHED, SLICE_FLIPS / 6);
}

/* ---- larger damage ----------------------------------------------------------------------------------------------- */

/* What may be lost together with the bytes that would say so: of the last log all of it; with the buffers, or a segment
 * that was being written, what no mark in that log vouches for. */
static uint64_t damage_floor(const struct work *w, const char *path)
{
    struct names n = {0};
    uint64_t number;
    enum file_type type = file_type_of(last_part(path), &number);
    sim_each_file(w->scene.sim, names_add, &n);
    if (type == FILE_WAL && number == last_log(&n))
        return w->scene.sealed_seq;
    bool is_open = type == FILE_WALBUF || type == FILE_VLOGBUF || type == FILE_VLOG;
    return is_open ? w->scene.marked_seq : w->scene.count;
}

struct damage {
    struct work *w;
    const char *path;
    uint64_t floor, runs, verdicts[VERDICT_COUNT];
};

static void damage_ask(struct damage *d, struct sim *copy, const char *how, uint64_t at)
{
    char what[160];
    struct answer answer;
    snprintf(what, sizeof what, "%s: %s: %s %llu", kind_names[d->w->kind], d->path, how, (unsigned long long)at);
    scene_ask(&d->w->scene, copy, d->runs % 8 == 7, last_part(d->path), d->floor, what, &answer);
    d->verdicts[answer.verdict]++;
    d->runs++;
    sim_destroy(copy);
}

/* The file with other bytes. */
static void damage_try(struct damage *d, const uint8_t *data, uint64_t size, const char *how, uint64_t at)
{
    struct sim *copy = NULL;
    OK(sim_clone(d->w->scene.sim, &copy));
    file_write(copy, d->path, data, size);
    damage_ask(d, copy, how, at);
}

static void truncations_try(struct damage *d, const uint8_t *data, uint64_t size, uint64_t step)
{
    for (uint64_t end = 0; end < size; end += step)
        damage_try(d, data, end, "cut at", end);
}

static void blocks_try(struct damage *d, const uint8_t *data, uint64_t size, const uint8_t *older, uint64_t older_size)
{
    static uint8_t bytes[FILE_MAX];
    for (uint64_t off = 0; off < size; off += BLOCK) {
        uint64_t block = u64_min(BLOCK, size - off),
                 other = size / BLOCK > 1 ? (off + BLOCK) % (size / BLOCK * BLOCK) : 0;
        memcpy(bytes, data, size);
        memset(bytes + off, 0, block);
        damage_try(d, bytes, size, "zeros at", off);
        if (block == BLOCK && other != off) {
            memcpy(bytes, data, size);
            memcpy(bytes + off, data + other, BLOCK);
            memcpy(bytes + other, data + off, BLOCK);
            damage_try(d, bytes, size, "swapped with the next block at", off);
        }
        if (older_size != UINT64_MAX && off + block <= older_size && memcmp(older + off, data + off, block) != 0) {
            memcpy(bytes, data, size);
            memcpy(bytes + off, older + off, block);
            damage_try(d, bytes, size, "an older block at", off);
        }
    }
}

static void removal_try(struct damage *d)
{
    struct sim *copy = NULL;
    OK(sim_clone(d->w->scene.sim, &copy));
    file_remove(copy, d->path);
    damage_ask(d, copy, "removed", 0);
}

static void file_damage(struct damage *d, uint64_t step)
{
    static uint8_t data[FILE_MAX], older[FILE_MAX];
    uint64_t size = file_read(d->w->scene.sim, d->path, data);
    uint64_t older_size = file_read(d->w->scene.older, d->path, older);
    truncations_try(d, data, size, step);
    blocks_try(d, data, size, older, older_size);
    if (older_size != UINT64_MAX && (older_size != size || memcmp(older, data, size) != 0))
        damage_try(d, older, older_size, "an older copy, of size", older_size);
    removal_try(d);
}

/* Any file cut at a sector, with a block of zeros, two blocks exchanged, a block or all of it as they were earlier, or
 * gone: the right answer, CORRUPT, or the state before the last log's end. */
static void test_larger_damage(void **state)
{
    (void)state;
    for (enum scene_kind kind = 0; kind < SCENE_KIND_COUNT; kind++) {
        struct work *w = work_make(kind);
        struct names n = {0};
        struct damage d = {.w = w};
        sim_each_file(w->scene.sim, names_add, &n);
        for (size_t i = 0; i < n.count; i++) {
            bool is_buffer = strstr(n.paths[i], "BUF") != NULL;
            if (strcmp(last_part(n.paths[i]), "LOCK") == 0) /* has no data; who only reads says that it is missing */
                continue;
            if (is_all ? i % parts != part : (i + seed) % 3 != kind)
                continue;
            d.path = n.paths[i];
            d.floor = damage_floor(w, d.path);
            file_damage(&d, is_buffer || !is_all ? BLOCK : SIM_SECTOR);
        }
        printf("%s: %llu damages: %llu refused, %llu by reads, %llu by verify, %llu shorter, %llu silent\n",
               kind_names[kind], (unsigned long long)d.runs, (unsigned long long)d.verdicts[VERDICT_REFUSED],
               (unsigned long long)d.verdicts[VERDICT_READ], (unsigned long long)d.verdicts[VERDICT_VERIFY],
               (unsigned long long)d.verdicts[VERDICT_SHORTER], (unsigned long long)d.verdicts[VERDICT_SILENT]);
        assert_true(d.runs > 0 && (parts > 4 || d.verdicts[VERDICT_REFUSED] > 0));
        work_free(w);
    }
}

/* ---- one flip again ---------------------------------------------------------------------------------------------- */

static char **one;

/* The flip that the arguments name. */
static void test_one_flip(void **state)
{
    (void)state;
    enum scene_kind kind = SCENE_KILLED;
    while (kind < SCENE_KIND_COUNT && strcmp(kind_names[kind], one[0]) != 0)
        kind++;
    assert_true(kind < SCENE_KIND_COUNT);
    struct work *w = work_make(kind);
    uint64_t off = strtoull(one[2], NULL, 0);
    regions_make(w, false);
    for (size_t i = 0; i < w->count; i++) {
        struct region *r = &w->regions[i];
        if (strcmp(r->path, one[1]) == 0 && off >= r->off && off - r->off < r->size)
            flip_one(w, r, off, (unsigned)strtoul(one[3], NULL, 0), false);
    }
    tallies_print(w);
    work_free(w);
}

int main(int argc, char **argv)
{
    seed = test_seed(11);
    is_all = argc > 1 && strcmp(argv[1], "all") == 0;
    if (is_all && argc == 4) {
        part = strtoull(argv[2], NULL, 0);
        parts = strtoull(argv[3], NULL, 0);
        assert_true(part < parts);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flips_of_a_killed_database),
        cmocka_unit_test(test_flips_of_a_closed_database),
        cmocka_unit_test(test_flips_behind_a_flush),
        cmocka_unit_test(test_larger_damage),
    };
    const struct CMUnitTest single[] = {cmocka_unit_test(test_one_flip)};
    if (argc == 6 && strcmp(argv[1], "one") == 0) {
        one = argv + 2;
        return cmocka_run_group_tests(single, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

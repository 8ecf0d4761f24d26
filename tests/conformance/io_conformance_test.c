// SPDX-License-Identifier: Apache-2.0
/*
 * One suite over every I/O backend: the four models of the real system and those of the simulated disk, once more with
 * short transfers. What passes here is what the engine may rely on, whichever backend a component is given.
 */
#include <errno.h>
#include <pthread.h>

#include "base/alloc.h"
#include "io/sim.h"
#include "test.h"

struct backend {
    const char *name;
    enum io_model read;  /* the model under test */
    enum io_model write; /* the same, or std where the model only reads */
    bool is_sim;
    bool is_short;
};

static const struct backend backends[] = {
    {"std", IO_STD, IO_STD, false, false},
    {"mmap", IO_MMAP, IO_STD, false, false},
    {"direct", IO_DIRECT, IO_DIRECT, false, false},
    {"uring", IO_URING, IO_URING, false, false},
    {"sim std", IO_STD, IO_STD, true, false},
    {"sim mmap", IO_MMAP, IO_STD, true, false},
    {"sim direct", IO_DIRECT, IO_DIRECT, true, false},
    {"sim uring", IO_URING, IO_URING, true, false},
    {"sim short transfers", IO_STD, IO_STD, true, true},
};

/* A test's world; made and removed around each test. */
struct bed {
    const struct backend *backend;
    struct sim *sim;
    struct io *io;
    char dir[256];
    char path[4][300]; /* "a" to "d" in dir */
};

static int bed_setup(void **state)
{
    struct bed *b = calloc(1, sizeof *b);
    b->backend = *state;
    if (b->backend->is_sim) {
        struct sim_options options = {.seed = 5, .short_transfers = b->backend->is_short};
        OK(sim_create(&options, &b->sim));
        OK(sim_io_create(b->sim, &b->io));
        strcpy(b->dir, "dir");
        OK(io_mkdir(b->io, b->dir));
    } else {
        OK(io_real_create(&b->io));
        test_dir_create(b->dir);
    }
    for (int i = 0; i < 4; i++)
        snprintf(b->path[i], sizeof b->path[i], "%s/%c", b->dir, 'a' + i);
    *state = b;
    return 0;
}

static int bed_teardown(void **state)
{
    struct bed *b = *state;
    io_destroy(b->io);
    if (b->backend->is_sim)
        sim_destroy(b->sim);
    else
        test_dir_remove(b->dir);
    free(b);
    return 0;
}

static struct io_file *create(struct bed *b, int index)
{
    struct io_file *f = NULL;
    unsigned flags = IO_READ | IO_WRITE | IO_CREATE;
    OK(io_open(b->io, b->path[index], IO_VLOG, b->backend->write, flags, &f));
    return f;
}

static struct io_file *open_for(struct bed *b, int index, unsigned flags)
{
    struct io_file *f = NULL;
    OK(io_open(b->io, b->path[index], IO_VLOG, flags & IO_WRITE ? b->backend->write : b->backend->read, flags, &f));
    return f;
}

static void write_file(struct bed *b, int index, const void *data, size_t size)
{
    struct io_file *f = create(b, index);
    OK(io_pwrite(f, data, size, 0));
    OK(io_sync(f));
    OK(io_close(f));
}

/* The whole file through the model under test, byte by byte as expected. */
static void expect_file(struct bed *b, int index, const uint8_t *expected, size_t size)
{
    uint64_t file_size = 0;
    size_t got = 0;
    uint8_t *found = malloc(size + 1);
    struct io_file *f = open_for(b, index, IO_READ);
    OK(io_size(f, &file_size));
    assert_int_equal(file_size, size);
    OK(io_pread(f, found, size + 1, 0, &got));
    assert_int_equal(got, size);
    assert_memory_equal(found, expected, size);
    OK(io_close(f));
    OK(io_stat(b->io, b->path[index], &file_size));
    assert_int_equal(file_size, size);
    free(found);
}

static void fill(uint8_t *data, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)test_random(&seed);
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* Creating is exclusive, opening without it finds nothing; both messages name the path. */
static void test_create_is_exclusive(void **state)
{
    struct bed *b = *state;
    struct io_file *f = NULL;
    unsigned create_flags = IO_WRITE | IO_CREATE;
    FAILS(NOT_FOUND, io_open(b->io, b->path[0], IO_SST, b->backend->read, IO_READ, &f));
    assert_non_null(strstr(status_message(), b->path[0]));
    write_file(b, 0, "x", 1);
    FAILS(EXISTS, io_open(b->io, b->path[0], IO_SST, b->backend->write, create_flags, &f));
    assert_non_null(strstr(status_message(), b->path[0]));
    assert_null(f);
    expect_file(b, 0, (const uint8_t *)"x", 1);
}

/* A file in a directory that is not there cannot be created. */
static void test_create_without_directory(void **state)
{
    struct bed *b = *state;
    struct io_file *f = NULL;
    char path[320];
    snprintf(path, sizeof path, "%s/none/x", b->dir);
    FAILS(NOT_FOUND, io_open(b->io, path, IO_SST, b->backend->write, IO_WRITE | IO_CREATE, &f));
    assert_non_null(strstr(status_message(), path));
}

/* The model under test is the one in use, and a file knows its path. */
static void test_model_in_use(void **state)
{
    struct bed *b = *state;
    write_file(b, 0, "x", 1);
    struct io_file *f = open_for(b, 0, IO_READ);
    bool has_ring = strcmp(io_uring_state(b->io), "on") == 0 || b->backend->is_sim;
    if (b->backend->read == IO_DIRECT || (b->backend->read == IO_URING && !has_ring))
        assert_true(io_file_model(f) == b->backend->read || io_file_model(f) == IO_STD);
    else
        assert_int_equal(io_file_model(f), b->backend->read);
    assert_string_equal(io_path(f), b->path[0]);
    OK(io_close(f));
}

/* Flags that make no sense, and calls that do not fit the flags, are refused before anything happens. */
static void test_flags(void **state)
{
    struct bed *b = *state;
    struct io_file *f = NULL;
    char byte = 0;
    size_t got = 0;
    FAILS(INVALID, io_open(b->io, b->path[0], IO_SST, b->backend->read, 0, &f));
    FAILS(INVALID, io_open(b->io, b->path[0], IO_SST, b->backend->read, IO_READ | IO_CREATE, &f));
    FAILS(INVALID, io_open(b->io, b->path[0], IO_SST, IO_MMAP, IO_WRITE | IO_CREATE, &f));
    FAILS(INVALID, io_open(b->io, b->path[0], IO_SST, (enum io_model)9, IO_READ, &f));
    assert_false(io_exists(b->io, b->path[0]));
    write_file(b, 0, "x", 1);
    f = open_for(b, 0, IO_READ);
    FAILS(INVALID, io_pwrite(f, "y", 1, 0));
    FAILS(INVALID, io_pwrite_durable(f, "y", 1, 0));
    FAILS(INVALID, io_truncate(f, 0));
    FAILS(INVALID, io_preallocate(f, 0, 10));
    FAILS(INVALID, io_pread(f, &byte, 1, UINT64_MAX, &got));
    OK(io_close(f));
    f = open_for(b, 0, IO_WRITE);
    FAILS(INVALID, io_pread(f, &byte, 1, 0, &got));
    OK(io_close(f));
    expect_file(b, 0, (const uint8_t *)"x", 1);
}

/* NULL handles and zeroed structures are accepted where the contract says so. */
static void test_nothing_to_close(void **state)
{
    (void)state;
    struct io_map map = {0};
    struct io_shared shared = {0};
    OK(io_close(NULL));
    io_unmap(&map);
    io_shared_close(&shared);
    io_unlock(NULL);
    io_destroy(NULL);
}

/* ---- reading and writing -------------------------------------------------------------------------------------- */

enum { RANDOM_WRITES = 150, RANDOM_SIZE_MAX = 40000 };

static uint64_t random_size(uint64_t *random)
{
    static const uint64_t interesting[] = {0, 1, 511, 512, 513, 4095, 4096, 4097, 8192, 12288};
    return test_random(random) % 2 ? interesting[test_random(random) % ARRAY_COUNT(interesting)]
                                   : test_random(random) % 9000;
}

/* Random writes, durable ones, truncations and reservations at odd offsets leave what an array would hold, for the
 * handle that writes at every moment and for others once it is closed. */
static void test_random_writes(void **state)
{
    struct bed *b = *state;
    uint64_t random = test_seed(11), size = 0;
    static uint8_t model[RANDOM_SIZE_MAX + 20000], data[20000], found[sizeof model];
    memset(model, 0, sizeof model);
    struct io_file *f = create(b, 0);
    for (int i = 0; i < RANDOM_WRITES; i++) {
        uint64_t off = test_random(&random) % 3 ? size : random_size(&random), length = random_size(&random);
        off = off > RANDOM_SIZE_MAX ? 0 : off;
        size_t skew = test_random(&random) % 2, got = 0; /* an aligned buffer, or one that is not */
        fill(data, sizeof data, i);
        switch (test_random(&random) % 8) {
        case 0:
            OK(io_truncate(f, off));
            memset(model + off, 0, sizeof model - off);
            size = off;
            break;
        case 1:
            OK(io_preallocate(f, off, length));
            size = length ? u64_max(size, off + length) : size;
            break;
        case 2:
            OK(io_pwrite_durable(f, data + skew, length, off));
            memcpy(model + off, data + skew, length);
            size = length ? u64_max(size, off + length) : size;
            break;
        case 3:
            OK(io_sync(f));
            break;
        default:
            OK(io_pwrite(f, data + skew, length, off));
            memcpy(model + off, data + skew, length);
            size = length ? u64_max(size, off + length) : size;
        }
        uint64_t file_size = 0;
        OK(io_size(f, &file_size));
        assert_int_equal(file_size, size);
        OK(io_pread(f, found, sizeof found, 0, &got));
        assert_int_equal(got, size);
        assert_memory_equal(found, model, size);
    }
    OK(io_close(f));
    expect_file(b, 0, model, size);
}

/* Any offset, size and buffer address may be read; a read over the end is short, one behind it empty. */
static void test_random_reads(void **state)
{
    struct bed *b = *state;
    uint64_t random = test_seed(12);
    static uint8_t data[30011];
    static _Alignas(4096) uint8_t found[sizeof data + 64];
    fill(data, sizeof data, 1);
    write_file(b, 0, data, sizeof data);
    struct io_file *f = open_for(b, 0, IO_READ);
    for (int i = 0; i < 400; i++) {
        uint64_t off = test_random(&random) % 2 ? test_random(&random) % 32768 : random_size(&random);
        size_t size = random_size(&random), skew = test_random(&random) % 3 * 7, got = 99999;
        size_t expected = off >= sizeof data ? 0 : u64_min(size, sizeof data - off);
        memset(found, 0xee, sizeof found);
        OK(io_pread(f, found + skew, size, off, &got));
        assert_int_equal(got, expected);
        assert_memory_equal(found + skew, data + (expected ? off : 0), expected);
        assert_int_equal(found[skew + expected], 0xee);
    }
    OK(io_close(f));
}

/* An exact read is all or CORRUPT, with the path, the end and what was wanted in the message. */
static void test_exact_reads(void **state)
{
    struct bed *b = *state;
    char found[16];
    write_file(b, 0, "0123456789", 10);
    struct io_file *f = open_for(b, 0, IO_READ);
    OK(io_pread_exact(f, found, 7, 3));
    assert_memory_equal(found, "3456789", 7);
    FAILS(CORRUPT, io_pread_exact(f, found, 8, 3));
    assert_non_null(strstr(status_message(), b->path[0]));
    assert_non_null(strstr(status_message(), "ends at 10"));
    FAILS(CORRUPT, io_pread_exact(f, found, 1, 10));
    OK(io_pread_exact(f, found, 0, 10));
    OK(io_close(f));
}

/* A write behind the end leaves zeros in between. */
static void test_hole(void **state)
{
    struct bed *b = *state;
    static uint8_t expected[10005];
    struct io_file *f = create(b, 0);
    OK(io_pwrite(f, "begin", 5, 0));
    OK(io_pwrite(f, "end!!", 5, 10000));
    OK(io_close(f));
    memcpy(expected, "begin", 5);
    memcpy(expected + 10000, "end!!", 5);
    expect_file(b, 0, expected, sizeof expected);
}

/* A file that was cut and grown again shows none of its old bytes. */
static void test_truncate_and_extend(void **state)
{
    struct bed *b = *state;
    static uint8_t ones[10000], expected[9000];
    memset(ones, 1, sizeof ones);
    memset(expected, 1, 5001);
    struct io_file *f = create(b, 0);
    OK(io_pwrite(f, ones, sizeof ones, 0));
    OK(io_truncate(f, 5001));
    OK(io_truncate(f, 9000));
    OK(io_sync(f));
    OK(io_close(f));
    expect_file(b, 0, expected, sizeof expected);
}

/* A reservation grows the file with zeros and changes nothing that is there; what is written there stays the size. */
static void test_preallocate(void **state)
{
    struct bed *b = *state;
    static uint8_t expected[70000];
    struct io_file *f = create(b, 0);
    uint64_t size = 0;
    OK(io_pwrite(f, "abc", 3, 0));
    OK(io_preallocate(f, 0, sizeof expected));
    OK(io_size(f, &size));
    assert_int_equal(size, sizeof expected);
    OK(io_pwrite_durable(f, "def", 3, 3));
    OK(io_pwrite_durable(f, "ghi", 3, 6));
    OK(io_pwrite(f, "jkl", 3, 60000));
    OK(io_close(f));
    memcpy(expected, "abcdefghi", 9);
    memcpy(expected + 60000, "jkl", 3);
    expect_file(b, 0, expected, sizeof expected);
}

/* Small appends, synced one by one or now and then, as a log makes them. */
static void test_appends(void **state)
{
    struct bed *b = *state;
    uint64_t random = 3, end = 0;
    static uint8_t data[60000];
    fill(data, sizeof data, 2);
    struct io_file *f = create(b, 0);
    for (int i = 0; i < 120; i++) {
        size_t size = 1 + test_random(&random) % 400;
        if (i % 3 == 0)
            OK(io_pwrite_durable(f, data + end, size, end));
        else
            OK(io_pwrite(f, data + end, size, end));
        end += size;
        if (i % 7 == 0)
            OK(io_sync(f));
    }
    OK(io_close(f));
    f = open_for(b, 0, IO_READ | IO_WRITE); /* reopened, the log goes on where it ended */
    OK(io_pwrite(f, data + end, 777, end));
    OK(io_sync(f));
    OK(io_close(f));
    expect_file(b, 0, data, end + 777);
}

/* Transfers of more than any bounce buffer holds, at an odd place. */
static void test_large_transfers(void **state)
{
    struct bed *b = *state;
    size_t size = 3 * 1000 * 1000 + 17;
    uint8_t *data = malloc(size);
    fill(data, size, 9);
    memset(data, 0, 5);
    struct io_file *f = create(b, 0);
    OK(io_pwrite(f, data + 5, size - 5, 5));
    OK(io_close(f));
    expect_file(b, 0, data, size);
    free(data);
}

/* Hints change nothing and fail never. */
static void test_hints(void **state)
{
    struct bed *b = *state;
    static uint8_t data[20000];
    fill(data, sizeof data, 3);
    struct io_file *f = create(b, 0);
    OK(io_pwrite(f, data, sizeof data, 0));
    io_start_writeback(f, 0, sizeof data);
    OK(io_sync(f));
    io_drop_cache(f, 0, sizeof data);
    OK(io_close(f));
    f = NULL;
    OK(io_open(b->io, b->path[0], IO_VLOG, b->backend->read, IO_READ | IO_SCAN_ONCE, &f));
    io_prefetch(f, 0, sizeof data / 2);
    io_prefetch(f, sizeof data / 2, 2 * sizeof data); /* over the end */
    io_prefetch(f, 10 * sizeof data, 1);
    static uint8_t found[sizeof data];
    for (size_t off = 0; off < sizeof data; off += 5000)
        OK(io_pread_exact(f, found + off, 5000, off));
    assert_memory_equal(found, data, sizeof data);
    OK(io_close(f));
}

struct writer {
    struct io_file *f;
    unsigned index;
    bool failed;
};

enum { WRITERS = 4, SLOTS = 200, SLOT_BYTES = 100 };

/* Every WRITERS-th slot, so that neighbours belong to different threads and share blocks. */
static void *write_slots(void *arg)
{
    struct writer *w = arg;
    uint8_t slot[SLOT_BYTES], found[SLOT_BYTES];
    memset(slot, (int)w->index + 1, sizeof slot);
    for (unsigned i = w->index; i < SLOTS; i += WRITERS) {
        uint64_t off = (uint64_t)i * SLOT_BYTES;
        w->failed |= (i / WRITERS % 10 == 9 ? io_pwrite_durable(w->f, slot, sizeof slot, off)
                                            : io_pwrite(w->f, slot, sizeof slot, off)) != NOKV_OK;
        w->failed |= io_pread_exact(w->f, found, sizeof found, off) != NOKV_OK;
        w->failed |= memcmp(slot, found, sizeof slot) != 0;
    }
    return NULL;
}

/* Threads write their own bytes of one file at the same time, in blocks that they share, and nobody's get lost. */
static void test_concurrent_writers(void **state)
{
    struct bed *b = *state;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    static uint8_t expected[SLOTS * SLOT_BYTES];
    struct io_file *f = create(b, 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.f = f, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_slots, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(writers[i].failed);
    }
    OK(io_close(f));
    for (unsigned i = 0; i < SLOTS; i++)
        memset(expected + i * SLOT_BYTES, (int)(i % WRITERS) + 1, SLOT_BYTES);
    expect_file(b, 0, expected, sizeof expected);
}

/* ---- groups of reads ------------------------------------------------------------------------------------------ */

/* A group larger than a ring, over several files, with odd offsets and some behind the end, reads what single reads do.
 */
static void test_read_many(void **state)
{
    struct bed *b = *state;
    enum { COUNT = 150, SIZE_MAX_EACH = 9000 };
    static uint8_t data[3][20000];
    struct io_file *files[3];
    static struct io_read_request requests[COUNT];
    uint64_t random = test_seed(4);
    for (int i = 0; i < 3; i++) {
        fill(data[i], sizeof data[i], i);
        write_file(b, i, data[i], sizeof data[i]);
        files[i] = open_for(b, i, IO_READ);
    }
    uint8_t *buffers = malloc((size_t)COUNT * SIZE_MAX_EACH);
    for (size_t i = 0; i < COUNT; i++)
        requests[i] = (struct io_read_request){.file = files[i % 3],
                                               .buffer = buffers + i * SIZE_MAX_EACH,
                                               .size = test_random(&random) % SIZE_MAX_EACH,
                                               .off = test_random(&random) % 21000,
                                               .status = NOKV_ERR_IO};
    OK(io_read_many(b->io, requests, COUNT));
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t off = requests[i].off;
        size_t expected = off >= 20000 ? 0 : u64_min(requests[i].size, 20000 - off);
        assert_int_equal(requests[i].status, NOKV_OK);
        assert_int_equal(requests[i].got, expected);
        assert_memory_equal(requests[i].buffer, data[i % 3] + (expected ? off : 0), expected);
    }
    OK(io_read_many(b->io, requests, 0));
    for (int i = 0; i < 3; i++)
        OK(io_close(files[i]));
    free(buffers);
}

/* One bad request does not spoil the others, and its status is the group's. */
static void test_read_many_with_a_failure(void **state)
{
    struct bed *b = *state;
    char found[3][8];
    write_file(b, 0, "0123456789", 10);
    struct io_file *f = open_for(b, 0, IO_READ), *w = open_for(b, 0, IO_WRITE);
    struct io_read_request requests[3] = {
        {.file = f, .buffer = found[0], .size = 4, .off = 0},
        {.file = w, .buffer = found[1], .size = 4, .off = 0},
        {.file = f, .buffer = found[2], .size = 4, .off = 6},
    };
    FAILS(INVALID, io_read_many(b->io, requests, 3));
    assert_int_equal(requests[0].status, NOKV_OK);
    assert_int_equal(requests[1].status, NOKV_ERR_INVALID);
    assert_int_equal(requests[2].status, NOKV_OK);
    assert_memory_equal(found[0], "0123", 4);
    assert_memory_equal(found[2], "6789", 4);
    OK(io_close(f));
    OK(io_close(w));
}

/* ---- mappings ------------------------------------------------------------------------------------------------- */

/* A mapping equals the file, is page-aligned, and outlives its handle and the file's name. */
static void test_map(void **state)
{
    struct bed *b = *state;
    static uint8_t data[10001];
    struct io_map map = {0};
    fill(data, sizeof data, 6);
    write_file(b, 0, data, sizeof data);
    struct io_file *f = open_for(b, 0, IO_READ);
    OK(io_map(f, &map));
    OK(io_close(f));
    assert_int_equal(map.size, sizeof data);
    assert_int_equal((uintptr_t)map.data % PAGE_BYTES, 0);
    assert_memory_equal(map.data, data, sizeof data);
    OK(io_unlink(b->io, b->path[0]));
    assert_memory_equal(map.data, data, sizeof data);
    io_unmap(&map);
    assert_null(map.data);
}

/* The mapping of a file that was just written through its handle has the true size, padding or not. */
static void test_map_of_a_writer(void **state)
{
    struct bed *b = *state;
    struct io_map map = {0};
    struct io_file *f = create(b, 0);
    OK(io_pwrite(f, "0123456789", 10, 0));
    OK(io_map(f, &map));
    assert_int_equal(map.size, 10);
    assert_memory_equal(map.data, "0123456789", 10);
    io_unmap(&map);
    OK(io_close(f));
}

/* An empty file has an empty mapping. */
static void test_map_of_nothing(void **state)
{
    struct bed *b = *state;
    struct io_map map = {0};
    char byte = 0;
    size_t got = 1;
    OK(io_close(create(b, 0)));
    struct io_file *f = open_for(b, 0, IO_READ);
    OK(io_map(f, &map));
    assert_null(map.data);
    assert_int_equal(map.size, 0);
    assert_true(io_map_advise(&map, 0, 0, IO_ADVICE_RANDOM));
    assert_int_equal(io_map_resident(&map, 0, 0), 0);
    OK(io_pread(f, &byte, 1, 0, &got));
    assert_int_equal(got, 0);
    io_unmap(&map);
    OK(io_close(f));
}

/* Every advice may be given for any range; after populating, the range is in memory. */
static void test_map_advice(void **state)
{
    struct bed *b = *state;
    static uint8_t data[50000];
    struct io_map map = {0};
    write_file(b, 0, data, sizeof data);
    struct io_file *f = open_for(b, 0, IO_READ);
    OK(io_map(f, &map));
    for (int advice = IO_ADVICE_RANDOM; advice <= IO_ADVICE_COLD; advice++) {
        (void)io_map_advise(&map, 0, sizeof data, (enum io_advice)advice);
        (void)io_map_advise(&map, 4097, 1, (enum io_advice)advice);
        (void)io_map_advise(&map, 49999, 1, (enum io_advice)advice);
    }
    assert_true(io_map_advise(&map, 100, 20000, IO_ADVICE_POPULATE));
    uint64_t resident = io_map_resident(&map, 100, 20000);
    assert_true(resident == 20000 || resident == UINT64_MAX);
    io_unmap(&map);
    OK(io_close(f));
}

/*
 * What is resident of a range is not more than the range, and that of a file the sum of its ranges; nothing lies behind
 * the end. After a mapping was populated it is all of it.
 */
static void test_resident_ranges(void **state)
{
    struct bed *b = *state;
    static uint8_t data[5 * PAGE_BYTES + 100];
    struct io_map map = {0};
    uint64_t sum = 0;
    write_file(b, 0, data, sizeof data);
    struct io_file *f = open_for(b, 0, IO_READ);
    OK(io_map(f, &map));
    (void)io_map_advise(&map, 0, sizeof data, IO_ADVICE_POPULATE);
    uint64_t all = io_resident(f);
    assert_true(all == UINT64_MAX || (all >= sizeof data && all <= 6 * PAGE_BYTES));
    for (uint64_t off = 0; off < sizeof data; off += 2 * PAGE_BYTES) {
        uint64_t size = u64_min(2 * PAGE_BYTES, sizeof data - off), bytes = io_resident_range(f, off, size);
        assert_true(bytes == (all == UINT64_MAX ? UINT64_MAX : size));
        sum += bytes;
    }
    if (all != UINT64_MAX) {
        assert_int_equal(sum, sizeof data);
        assert_int_equal(io_resident_range(f, 8 * PAGE_BYTES, PAGE_BYTES), 0);
    }
    assert_int_equal(io_resident_range(f, 0, 0), 0);
    io_unmap(&map);
    OK(io_close(f));
}

static enum nokv_status sum_bytes(void *arg)
{
    uint64_t *sum = ((void **)arg)[1];
    const struct io_map *map = ((void **)arg)[0];
    for (size_t i = 0; i < map->size; i++)
        *sum += map->data[i];
    return *sum == 6 ? NOKV_OK : NOKV_ERR_CORRUPT;
}

/* A guarded read of a sound mapping is just a call, and its status comes through. */
static void test_guarded(void **state)
{
    struct bed *b = *state;
    struct io_map map = {0};
    uint64_t sum = 0;
    void *args[2] = {&map, &sum};
    write_file(b, 0, "\1\2\3", 3);
    struct io_file *f = open_for(b, 0, IO_READ);
    OK(io_map(f, &map));
    OK(io_guard_install());
    OK(io_guarded(sum_bytes, args));
    assert_int_equal(io_guarded(sum_bytes, args), NOKV_ERR_CORRUPT); /* the sum is 12 now */
    io_guard_remove();
    io_unmap(&map);
    OK(io_close(f));
}

/* ---- the shared buffer ---------------------------------------------------------------------------------------- */

/* Stores into a shared buffer are there at the next opening, and in the file; another size is refused. */
static void test_shared(void **state)
{
    struct bed *b = *state;
    struct io_shared s = {0};
    uint8_t expected[8192] = {0};
    OK(io_shared_open(b->io, b->path[0], sizeof expected, &s));
    assert_int_equal(s.size, sizeof expected);
    assert_memory_equal(s.data, expected, sizeof expected);
    memcpy(s.data + 5000, "kept", 4);
    io_shared_close(&s);
    memcpy(expected + 5000, "kept", 4);
    expect_file(b, 0, expected, sizeof expected);
    FAILS(EXISTS, io_shared_open(b->io, b->path[0], 4096, &s));
    assert_non_null(strstr(status_message(), b->path[0]));
    OK(io_shared_open(b->io, b->path[0], sizeof expected, &s));
    assert_memory_equal(s.data, expected, sizeof expected);
    io_shared_close(&s);
    FAILS(INVALID, io_shared_open(b->io, b->path[1], 0, &s));
}

/* An empty file, left by somebody who died while creating it, becomes a shared buffer. */
static void test_shared_of_empty_file(void **state)
{
    struct bed *b = *state;
    struct io_shared s = {0};
    OK(io_close(create(b, 0)));
    OK(io_shared_open(b->io, b->path[0], 4096, &s));
    s.data[4095] = 1;
    io_shared_close(&s);
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* A rename replaces its target; open handles keep the file that they opened. */
static void test_rename(void **state)
{
    struct bed *b = *state;
    char found[3];
    write_file(b, 0, "old", 3);
    write_file(b, 1, "new", 3);
    struct io_file *f = open_for(b, 0, IO_READ);
    OK(io_rename(b->io, b->path[1], b->path[0]));
    OK(io_sync_dir(b->io, b->dir));
    OK(io_pread_exact(f, found, 3, 0));
    assert_memory_equal(found, "old", 3);
    OK(io_close(f));
    expect_file(b, 0, (const uint8_t *)"new", 3);
    assert_false(io_exists(b->io, b->path[1]));
    FAILS(NOT_FOUND, io_rename(b->io, b->path[1], b->path[0]));
    assert_non_null(strstr(status_message(), b->path[1]));
}

/* An unlinked file is gone by name, and stays for its open handle. */
static void test_unlink(void **state)
{
    struct bed *b = *state;
    char found[3];
    uint64_t size = 0;
    write_file(b, 0, "abc", 3);
    struct io_file *f = open_for(b, 0, IO_READ);
    OK(io_unlink(b->io, b->path[0]));
    assert_false(io_exists(b->io, b->path[0]));
    FAILS(NOT_FOUND, io_stat(b->io, b->path[0], &size));
    FAILS(NOT_FOUND, io_unlink(b->io, b->path[0]));
    assert_non_null(strstr(status_message(), b->path[0]));
    OK(io_pread_exact(f, found, 3, 0));
    assert_memory_equal(found, "abc", 3);
    OK(io_close(f));
}

/* Directories: made once, removed when empty, missing ones are NOT_FOUND. */
static void test_directories(void **state)
{
    struct bed *b = *state;
    char inside[320];
    struct io_file *f = NULL;
    snprintf(inside, sizeof inside, "%s//x", b->path[0]); /* a doubled slash is one */
    OK(io_mkdir(b->io, b->path[0]));
    FAILS(EXISTS, io_mkdir(b->io, b->path[0]));
    OK(io_open(b->io, inside, IO_OTHER, b->backend->write, IO_WRITE | IO_CREATE, &f));
    OK(io_close(f));
    OK(io_sync_dir(b->io, b->path[0]));
    FAILS(IO, io_rmdir(b->io, b->path[0]));
    assert_non_null(strstr(status_message(), b->path[0]));
    OK(io_unlink(b->io, inside));
    OK(io_rmdir(b->io, b->path[0]));
    FAILS(NOT_FOUND, io_rmdir(b->io, b->path[0]));
    FAILS(NOT_FOUND, io_sync_dir(b->io, b->path[0]));
    FAILS(NOT_FOUND, io_mkdir(b->io, inside));
}

struct seen {
    unsigned bits;
    unsigned others;
    unsigned stop_after;
};

static enum nokv_status see(void *arg, const char *name)
{
    struct seen *s = arg;
    if (name[0] >= 'a' && name[0] <= 'd' && name[1] == '\0')
        s->bits |= 1u << (name[0] - 'a');
    else
        s->others++;
    return s->stop_after && --s->stop_after == 0 ? NOKV_ERR_ABORTED : NOKV_OK;
}

/* A listing shows every name once and nothing else, and stops when the callback says so. */
static void test_list(void **state)
{
    struct bed *b = *state;
    struct seen s = {0};
    OK(io_list(b->io, b->dir, see, &s));
    assert_true(s.bits == 0 && s.others == 0);
    write_file(b, 0, "x", 1);
    write_file(b, 2, "x", 1);
    OK(io_mkdir(b->io, b->path[3]));
    OK(io_list(b->io, b->dir, see, &s));
    assert_true(s.bits == (1 | 4 | 8) && s.others == 0);
    s = (struct seen){.stop_after = 2};
    FAILS(ABORTED, io_list(b->io, b->dir, see, &s));
    assert_int_equal(__builtin_popcount(s.bits), 2);
    FAILS(NOT_FOUND, io_list(b->io, b->path[1], see, &s));
    assert_non_null(strstr(status_message(), b->path[1]));
    OK(io_rmdir(b->io, b->path[3]));
}

/* ---- locks ---------------------------------------------------------------------------------------------------- */

/* One exclusive owner, also within one process; BUSY names the file and the owner's pid. */
static void test_lock_exclusive(void **state)
{
    struct bed *b = *state;
    struct io_lock *lock = NULL, *other = NULL;
    char pid[32];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    OK(io_lock(b->io, b->path[0], true, &lock));
    FAILS(BUSY, io_lock(b->io, b->path[0], true, &other));
    assert_non_null(strstr(status_message(), pid));
    assert_non_null(strstr(status_message(), b->path[0]));
    FAILS(BUSY, io_lock(b->io, b->path[0], false, &other));
    assert_non_null(strstr(status_message(), pid));
    assert_null(other);
    io_unlock(lock);
    OK(io_lock(b->io, b->path[0], true, &lock));
    io_unlock(lock);
}

/* Shared owners are many, keep exclusive ones out, and never create the file. */
static void test_lock_shared(void **state)
{
    struct bed *b = *state;
    struct io_lock *one = NULL, *two = NULL, *other = NULL;
    FAILS(NOT_FOUND, io_lock(b->io, b->path[0], false, &one));
    assert_false(io_exists(b->io, b->path[0]));
    OK(io_lock(b->io, b->path[0], true, &one));
    io_unlock(one);
    OK(io_lock(b->io, b->path[0], false, &one));
    OK(io_lock(b->io, b->path[0], false, &two));
    FAILS(BUSY, io_lock(b->io, b->path[0], true, &other));
    assert_non_null(strstr(status_message(), b->path[0]));
    io_unlock(one);
    FAILS(BUSY, io_lock(b->io, b->path[0], true, &other));
    io_unlock(two);
    OK(io_lock(b->io, b->path[0], true, &other));
    io_unlock(other);
}

/* ---- counters and the clock ----------------------------------------------------------------------------------- */

static uint64_t calls_of(struct bed *b, enum io_component component, enum io_op op)
{
    return atomic_load(&io_component_stats(b->io, component)->ops[op].calls);
}

static uint64_t bytes_of(struct bed *b, enum io_component component, enum io_op op)
{
    return atomic_load(&io_component_stats(b->io, component)->ops[op].bytes);
}

/* Every kind of call is counted for the component in whose name it was made, with its bytes, its errors and its time.
 */
static void test_counters(void **state)
{
    struct bed *b = *state;
    static uint8_t data[10000];
    struct io_file *f = NULL;
    struct io_map map = {0};
    const struct io_component_stats *stats = io_component_stats(b->io, IO_FLUSH);
    OK(io_open(b->io, b->path[0], IO_FLUSH, b->backend->write, IO_WRITE | IO_READ | IO_CREATE, &f));
    OK(io_pwrite(f, data, sizeof data, 0));
    OK(io_preallocate(f, 0, 20000));
    OK(io_truncate(f, sizeof data));
    OK(io_sync(f));
    io_drop_cache(f, 0, 0);
    OK(io_close(f));
    OK(io_open(b->io, b->path[0], IO_FLUSH, b->backend->read, IO_READ, &f));
    OK(io_pread_exact(f, data, sizeof data, 0));
    OK(io_map(f, &map));
    io_unmap(&map);
    OK(io_close(f));
    for (int op = 0; op < IO_OP_COUNT; op++) {
        if (op == IO_OP_NAMESPACE || op == IO_OP_SYNC_DIR)
            continue;
        assert_true(calls_of(b, IO_FLUSH, (enum io_op)op) > 0);
        assert_int_equal(histogram_count(&stats->ops[op].ns), calls_of(b, IO_FLUSH, (enum io_op)op));
    }
    assert_int_equal(calls_of(b, IO_FLUSH, IO_OP_OPEN), 2);
    assert_int_equal(calls_of(b, IO_FLUSH, IO_OP_CLOSE), 2);
    assert_true(bytes_of(b, IO_FLUSH, IO_OP_WRITE) >= sizeof data);
    assert_true(bytes_of(b, IO_FLUSH, IO_OP_READ) >= sizeof data);
    assert_int_equal(calls_of(b, IO_COMPACTION, IO_OP_WRITE), 0);
    FAILS(NOT_FOUND, io_open(b->io, b->path[1], IO_COMPACTION, b->backend->read, IO_READ, &f));
    assert_int_equal(atomic_load(&io_component_stats(b->io, IO_COMPACTION)->ops[IO_OP_OPEN].errors), 1);
    uint64_t names = calls_of(b, IO_OTHER, IO_OP_NAMESPACE), dirs = calls_of(b, IO_OTHER, IO_OP_SYNC_DIR);
    OK(io_unlink(b->io, b->path[0]));
    OK(io_sync_dir(b->io, b->dir));
    assert_int_equal(calls_of(b, IO_OTHER, IO_OP_NAMESPACE), names + 1);
    assert_int_equal(calls_of(b, IO_OTHER, IO_OP_SYNC_DIR), dirs + 1);
}

/* A durable write is counted as a sync with written bytes, whichever way the backend makes it durable. */
static void test_durable_write_counts(void **state)
{
    struct bed *b = *state;
    struct io_file *f = NULL;
    OK(io_open(b->io, b->path[0], IO_WAL, b->backend->write, IO_WRITE | IO_CREATE, &f));
    OK(io_pwrite_durable(f, "abc", 3, 0));
    OK(io_close(f));
    assert_true(calls_of(b, IO_WAL, IO_OP_SYNC) >= 1);
    assert_true(bytes_of(b, IO_WAL, IO_OP_WRITE) >= 3);
    expect_file(b, 0, (const uint8_t *)"abc", 3);
}

/* The clock never goes back, a sleep moves it by at least its length, and the date is a date. */
static void test_clock(void **state)
{
    struct bed *b = *state;
    uint64_t now = io_now_ns(b->io);
    io_sleep_ns(b->io, 1000);
    assert_true(io_now_ns(b->io) >= now + 1000);
    assert_true(io_wall_ms(b->io) > 1600000000000ull);
}

/* Names are those of the public interface. */
static void test_text(void **state)
{
    struct bed *b = *state;
    assert_string_equal(io_model_name(IO_DIRECT), "direct");
    assert_string_equal(io_component_name(IO_COMPACTION), "compaction");
    assert_true(strlen(io_uring_state(b->io)) > 0);
}

/* ---- failures of memory --------------------------------------------------------------------------------------- */

/* Whichever allocation fails, an operation answers NO_MEMORY and can be repeated. */
static void test_without_memory(void **state)
{
    struct bed *b = *state;
    static uint8_t data[5000], found[5000];
    fill(data, sizeof data, 8);
    for (uint64_t k = 0; k < 40; k++) {
        struct io_file *f = NULL;
        struct io_map map = {0};
        size_t got = 0;
        enum nokv_status status;
        mem_fail_after(k);
        status = io_open(b->io, b->path[0], IO_VLOG, b->backend->write, IO_READ | IO_WRITE | IO_CREATE, &f);
        if (status == NOKV_OK)
            status = io_pwrite(f, data + 1, 4000, 3);
        if (status == NOKV_OK)
            status = io_pread(f, found, 100, 7, &got);
        if (status == NOKV_OK)
            status = io_map(f, &map);
        mem_fail_after(UINT64_MAX);
        assert_true(status == NOKV_OK || status == NOKV_ERR_NO_MEMORY);
        io_unmap(&map);
        OK(io_close(f));
        if (io_exists(b->io, b->path[0]))
            OK(io_unlink(b->io, b->path[0]));
    }
}

#define EVERY_TEST(X)                \
    X(test_create_is_exclusive)      \
    X(test_create_without_directory) \
    X(test_model_in_use)             \
    X(test_flags)                    \
    X(test_nothing_to_close)         \
    X(test_random_writes)            \
    X(test_random_reads)             \
    X(test_exact_reads)              \
    X(test_hole)                     \
    X(test_truncate_and_extend)      \
    X(test_preallocate)              \
    X(test_appends)                  \
    X(test_large_transfers)          \
    X(test_concurrent_writers)       \
    X(test_hints)                    \
    X(test_read_many)                \
    X(test_read_many_with_a_failure) \
    X(test_map)                      \
    X(test_map_of_a_writer)          \
    X(test_map_of_nothing)           \
    X(test_map_advice)               \
    X(test_resident_ranges)          \
    X(test_guarded)                  \
    X(test_shared)                   \
    X(test_shared_of_empty_file)     \
    X(test_rename)                   \
    X(test_unlink)                   \
    X(test_directories)              \
    X(test_list)                     \
    X(test_lock_exclusive)           \
    X(test_lock_shared)              \
    X(test_counters)                 \
    X(test_durable_write_counts)     \
    X(test_clock)                    \
    X(test_text)                     \
    X(test_without_memory)

int main(void)
{
    int failed = 0;
    for (size_t i = 0; i < ARRAY_COUNT(backends); i++) {
        void *backend = (void *)(uintptr_t)&backends[i];
        const struct CMUnitTest tests[] = {
#define ENTRY(test) cmocka_unit_test_prestate_setup_teardown(test, bed_setup, bed_teardown, backend),
            EVERY_TEST(ENTRY)
#undef ENTRY
        };
        printf("---- %s\n", backends[i].name);
        failed += cmocka_run_group_tests_name(backends[i].name, tests, NULL, NULL);
    }
    return failed != 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * values_fixture.h - the directory of lsm_fixture.h with a value log in it: segments to take values from, and values
 * read back through what an entry says.
 */
#ifndef TESTS_UNIT_LSM_VALUES_FIXTURE_H
#define TESTS_UNIT_LSM_VALUES_FIXTURE_H

#include <errno.h>

#include "lsm/value_writer.h"
#include "lsm_fixture.h"

enum { VALUES_MAX = 400, VALUE_SIZE_MAX = 20000 };

/* An entry as a table would hold it. */
struct placed {
    char key[24];
    uint64_t seq;
    unsigned kind; /* KEY_VALUE or KEY_VALUE_POINTER */
    size_t size;   /* of the user's value */
    uint8_t stored[600];
    size_t stored_size;
};

static inline void values_init(struct lsm *f)
{
    lsm_init(f);
    OK(io_mkdir(f->io, "db/vlog"));
    OK(io_sync_dir(f->io, "db"));
}

static inline uint64_t lsm_number_allocate(void *arg)
{
    struct lsm *f = arg;
    return f->next_number++;
}

static inline void value_fill(uint64_t i, uint8_t *out, size_t size)
{
    uint64_t rng = i * 77 + 5;
    for (size_t at = 0; at < size; at++)
        out[at] = (uint8_t)(at % 16 ? out[at - 1] * 31 + at : test_random(&rng));
}

static inline struct ikey placed_key(const struct placed *p)
{
    return (struct ikey){.user = slice_make(p->key, strlen(p->key)), .tag = key_tag(p->seq, p->kind)};
}

static inline struct slice placed_value(const struct placed *p)
{
    return slice_make(p->stored, p->stored_size);
}

static inline struct vlog_pointer placed_pointer(const struct placed *p)
{
    struct vlog_pointer pointer;
    assert_int_equal(p->kind, KEY_VALUE_POINTER);
    OK(vlog_pointer_decode(placed_value(p), &pointer));
    return pointer;
}

/* A sealed segment that holds values [first, first + count) of two sizes in turn; out[i] points to each. */
static inline uint64_t segment_make_mixed(struct lsm *f, uint64_t first, uint64_t count, size_t even_size,
                                          size_t odd_size, struct placed *out)
{
    char path[PATH_SIZE_MAX];
    static uint8_t value[VALUE_SIZE_MAX];
    struct vlog_writer *w = NULL;
    uint64_t number = f->next_number++;
    OK(path_vlog(path, "db", number));
    struct vlog_writer_options o = {
        .io = f->io, .path = path, .dir = "db/vlog", .component = IO_VLOG, .model = IO_STD, .number = number};
    OK(vlog_writer_create(&o, &w));
    for (uint64_t i = 0; i < count; i++) {
        struct vlog_pointer p;
        size_t size = i % 2 ? odd_size : even_size;
        out[i] = (struct placed){.seq = first + i + 1, .kind = KEY_VALUE_POINTER, .size = size};
        snprintf(out[i].key, sizeof out[i].key, "key%06llu", (unsigned long long)(first + i));
        value_fill(first + i, value, size);
        OK(vlog_append(w, placed_key(&out[i]), slice_make(value, size), &p));
        vlog_pointer_encode(&p, out[i].stored);
        out[i].stored_size = VLOG_POINTER_SIZE;
    }
    OK(vlog_writer_seal(w));
    vlog_writer_destroy(w);
    return number;
}

static inline uint64_t segment_make(struct lsm *f, uint64_t first, uint64_t count, size_t size, struct placed *out)
{
    return segment_make_mixed(f, first, count, size, size, out);
}

/* Read value i through what its entry says. */
static inline enum nokv_status placed_read(struct lsm *f, const struct placed *p, uint8_t *out)
{
    char path[PATH_SIZE_MAX];
    struct vlog_reader *r = NULL;
    if (p->kind == KEY_VALUE) {
        assert_int_equal(p->stored_size, p->size);
        memcpy(out, p->stored, p->size);
        return NOKV_OK;
    }
    struct vlog_pointer pointer = placed_pointer(p);
    assert_int_equal(pointer.value_size, p->size);
    OK(path_vlog(path, "db", pointer.segment));
    OK(vlog_reader_open(f->io, path, pointer.segment, VLOG_READ_PREAD, NULL, NULL, &r));
    enum nokv_status status = vlog_read(r, &pointer, placed_key(p).user, 0, out, p->size);
    vlog_reader_unref(r);
    return status;
}

static inline void placed_check(struct lsm *f, const struct placed *p)
{
    static uint8_t wanted[VALUE_SIZE_MAX], got[VALUE_SIZE_MAX];
    value_fill(p->seq - 1, wanted, p->size);
    OK(placed_read(f, p, got));
    if (memcmp(wanted, got, p->size) != 0)
        fail_msg("%s reads other bytes", p->key);
}

static inline void flip_value(struct lsm *f, const struct placed *p)
{
    char path[PATH_SIZE_MAX];
    struct vlog_pointer pointer = placed_pointer(p);
    OK(path_vlog(path, "db", pointer.segment));
    OK(sim_flip_bit(f->sim, path, pointer.off + 32 + strlen(p->key) + p->size / 2, 3));
}

#endif

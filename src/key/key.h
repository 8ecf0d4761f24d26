// SPDX-License-Identifier: Apache-2.0
/*
 * key/key.h - keys inside the engine: user key, sequence number, kind; and their one order.
 *
 * An internal key is (user key, tag); tag = sequence << 8 | kind byte. Order: user keys ascending as memcmp orders them
 * (a prefix first), then tags descending, so that the newest version of a key comes first. Every write has a sequence
 * number of its own, so two entries of a database never compare equal.
 */
#ifndef KEY_KEY_H
#define KEY_KEY_H

#include "base/base.h"

/* The low four bits of the kind byte. The numbers are part of every format. */
enum key_kind {
    KEY_TOMBSTONE = 0,       /* the key is deleted; the value is empty */
    KEY_VALUE = 1,           /* the value follows */
    KEY_VALUE_POINTER = 2,   /* the value is a value-log pointer (vlog) */
    KEY_MERGE = 3,           /* reserved: a merge operand */
    KEY_RANGE_TOMBSTONE = 4, /* reserved: [key, value) is deleted */
};
/* Bits above the kind. With KEY_HAS_EXPIRY the value begins with a u64 of milliseconds since 1970. Others: refused. */
enum { KEY_KIND_MASK = 0x0f, KEY_HAS_EXPIRY = 0x10 };

#define KEY_SEQ_MAX ((1ull << 56) - 1)
enum { KEY_SIZE_MAX = 65535 };
#define KEY_VALUE_SIZE_MAX (1ull << 30)

static inline uint64_t key_tag(uint64_t seq, unsigned kind_byte)
{
    return seq << 8 | kind_byte;
}

static inline uint64_t tag_seq(uint64_t tag)
{
    return tag >> 8;
}

/* With flags. */
static inline unsigned tag_kind_byte(uint64_t tag)
{
    return (unsigned)(tag & 0xff);
}

static inline enum key_kind tag_kind(uint64_t tag)
{
    return (enum key_kind)(tag & KEY_KIND_MASK);
}

/* Does this build know the kind byte? Decoders refuse others with NOT_SUPPORTED. */
bool key_kind_known(unsigned kind_byte);

/* The tag that comes before every version of a key that is visible at `seq`, and after all newer ones. */
static inline uint64_t tag_for_seek(uint64_t seq)
{
    return seq << 8 | 0xff;
}

struct ikey {
    struct slice user;
    uint64_t tag;
};

/* <0, 0, >0 as memcmp; a prefix is smaller. */
static inline int key_compare(struct slice a, struct slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    if (c != 0)
        return c;
    return a.size < b.size ? -1 : a.size > b.size;
}

static inline int ikey_compare(struct ikey a, struct ikey b)
{
    int c = key_compare(a.user, b.user);
    if (c != 0)
        return c;
    return a.tag > b.tag ? -1 : a.tag < b.tag;
}

/*
 * The first eight bytes of `key` from byte `skip` on as a big-endian number, zero-padded: prefix(a) < prefix(b) implies
 * a < b among keys that share their first `skip` bytes; equal prefixes say nothing. REQUIRES: skip <= key.size.
 */
static inline uint64_t key_prefix(struct slice key, size_t skip)
{
    uint64_t v = 0;
    size_t n = key.size - skip;
    if (LIKELY(n >= 8)) {
        memcpy(&v, key.data + skip, 8);
        return __builtin_bswap64(v);
    }
    if (n == 0)
        return 0;
    if (LIKELY(key.size >= 8)) { /* its last eight bytes, without those in front of `skip` */
        memcpy(&v, key.data + key.size - 8, 8);
        return __builtin_bswap64(v) << (64 - 8 * n);
    }
    memcpy(&v, key.data + skip, n);
    return __builtin_bswap64(v);
}

/* Length of the longest common prefix. */
size_t key_common_prefix(struct slice a, struct slice b);

/*
 * A short key s with a <= s < b, for an index. REQUIRES: a < b. The answer is a prefix of b or a itself: it borrows.
 */
struct slice key_separator(struct slice a, struct slice b);

/* What a lookup of one key in one place finds. Absence is not an error. */
struct cache_block;

struct lookup {
    bool found;                 /* some version visible at the asked sequence number */
    uint64_t tag;               /* of that version: look at tag_kind() */
    struct slice value;         /* in place; valid as long as the place is */
    struct cache_block *holder; /* what it lies in, a reference for the caller; NULL: in the memtable or the mapping */
};

#endif

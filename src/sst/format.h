// SPDX-License-Identifier: Apache-2.0
/*
 * sst/format.h - the pages that frame a table: header, footer, properties. docs/formats/sst.md is the specification.
 *
 * Decoders take bytes from a hostile disk: whatever they hand out has been checked against the size of the file, so
 * that region offsets may be used without further care.
 */
#ifndef SST_FORMAT_H
#define SST_FORMAT_H

#include "base/buf.h"
#include "base/coding.h"
#include "base/hash.h"
#include "key/key.h"
#include "sst/sst.h"

enum {
    SST_VERSION = 1,
    SST_PAGE_CHECKSUM_OFF = 4088, /* in header and footer */
    SST_KIND_BYTES = 32,          /* kind bytes that this build counts: four bits of kind and the expiry flag */
};

#define SST_GOLDEN 0x9e3779b97f4a7c15ull

struct sst_region {
    uint64_t off;
    uint64_t size; /* without the filling up to a page */
    uint64_t checksum;
};

struct sst_footer {
    uint64_t file_number;
    uint64_t file_bytes;
    struct sst_region data; /* its checksum is unused */
    struct sst_region filter;
    struct sst_region index;
    struct sst_region properties;
    uint64_t block_count;
    uint32_t common_size;
    uint32_t filter_probes;
};

struct sst_properties {
    struct ikey smallest, largest; /* borrow from the encoded bytes */
    struct sst_info info;          /* file_bytes is not part of it: the footer says it */
    uint64_t filter_keys;
    uint64_t kinds[SST_KIND_BYTES];
    uint64_t block_bytes;
    uint64_t filter_bits_per_key;
};

static inline uint64_t sst_pages(uint64_t size)
{
    return size / PAGE_BYTES + (size % PAGE_BYTES != 0);
}

static inline uint64_t sst_block_seed(uint64_t file_number, uint64_t page)
{
    return file_number * SST_GOLDEN + page;
}

/* Of `size` bytes rounded up to a page; 0 when there are none. `data` has that many. */
uint64_t sst_region_checksum(const uint8_t *data, uint64_t size, uint64_t file_number);

void sst_header_encode(uint8_t page[PAGE_BYTES], uint64_t file_number);
enum nokv_status sst_header_decode(const uint8_t page[PAGE_BYTES], uint64_t *out_file_number) MUST_CHECK;

void sst_footer_encode(uint8_t page[PAGE_BYTES], const struct sst_footer *footer);
/* `file_bytes` is the real size of the file: all of the geometry is checked against it. */
enum nokv_status sst_footer_decode(const uint8_t page[PAGE_BYTES], uint64_t file_bytes,
                                   struct sst_footer *out_footer) MUST_CHECK;

enum nokv_status sst_properties_encode(const struct sst_properties *p, struct buf *out) MUST_CHECK;
enum nokv_status sst_properties_decode(struct slice bytes, struct sst_properties *out) MUST_CHECK;

#endif

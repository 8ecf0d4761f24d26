// SPDX-License-Identifier: Apache-2.0
/*
 * layout.c - where the regions of a table lie, without opening it.
 *
 * For who looks at a table from outside (what of it is in the page cache): the footer says it, one page. The file is
 * the caller's, so that its I/O model decides whether that page stays in the cache; a reader would map the file, and
 * read header and properties as well.
 */
#include "sst/format.h"

#define WHOLE_PAGES(region)                                                \
    {                                                                      \
        .off = (region).off, .size = sst_pages((region).size) * PAGE_BYTES \
    }

enum nokv_status sst_extents_read(struct io_file *file, struct sst_extents *out_extents)
{
    uint8_t page[PAGE_BYTES];
    uint64_t file_bytes = 0;
    struct sst_footer footer;
    TRY(io_size(file, &file_bytes));
    if (file_bytes < PAGE_BYTES)
        return FAIL(CORRUPT, "%s: %llu bytes are no table", io_path(file), (unsigned long long)file_bytes);
    TRY(io_pread_exact(file, page, sizeof page, file_bytes - PAGE_BYTES));
    enum nokv_status status = sst_footer_decode(page, file_bytes, &footer);
    if (status != NOKV_OK)
        return FAIL_WITH(status, "%s: %s", io_path(file), status_message());
    *out_extents = (struct sst_extents){.data = WHOLE_PAGES(footer.data),
                                        .filter = WHOLE_PAGES(footer.filter),
                                        .index = WHOLE_PAGES(footer.index),
                                        .properties = WHOLE_PAGES(footer.properties)};
    return NOKV_OK;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * doc_example.h - the bytes of a worked example in a page of docs/formats.
 *
 * An example is the block of indented lines below the heading "## Worked example"; each line begins with bytes as two
 * hexadecimal digits and goes on with words.
 */
#ifndef TESTS_UNIT_LSM_DOC_EXAMPLE_H
#define TESTS_UNIT_LSM_DOC_EXAMPLE_H

#include "test.h"

enum { DOC_EXAMPLE_BYTES_MAX = 256 };

struct doc_example {
    uint8_t bytes[DOC_EXAMPLE_BYTES_MAX];
    size_t size;
};

static inline void doc_line_parse(const char *line, struct doc_example *out)
{
    for (const char *p = line; *p;) {
        char *end;
        while (*p == ' ')
            p++;
        unsigned long byte = strtoul(p, &end, 16);
        if (end != p + 2 || (*end != ' ' && *end != '\n'))
            return;
        assert_true(out->size < DOC_EXAMPLE_BYTES_MAX);
        out->bytes[out->size++] = (uint8_t)byte;
        p = end;
        if (*p == '\n')
            return;
    }
}

static inline void doc_example_load(const char *page, struct doc_example *out)
{
    char line[400];
    bool inside = false;
    *out = (struct doc_example){0};
    FILE *file = fopen(page, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '#')
            inside = strncmp(line, "## Worked example", 17) == 0;
        else if (inside && strncmp(line, "    ", 4) == 0)
            doc_line_parse(line, out);
    }
    fclose(file);
    assert_true(out->size > 0);
}

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * json.c - bytes in JSON: as a string where they are valid UTF-8, hexadecimal under another name otherwise.
 */
#include "json.h"

#include <stdio.h>
#include <stdlib.h>

#include "text.h"

void json_set_bytes(json_t *object, const char *name, nokv_slice bytes, bool hex)
{
    if (!hex && utf8_valid(bytes.data, bytes.size)) {
        json_object_set_new(object, name, json_stringn(bytes.size > 0 ? bytes.data : "", bytes.size));
        return;
    }
    static const char digits[] = "0123456789abcdef";
    char hex_name[16];
    snprintf(hex_name, sizeof hex_name, "%s_hex", name);
    char *text = cli_alloc(2 * bytes.size);
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned char byte = ((const unsigned char *)bytes.data)[i];
        text[2 * i] = digits[byte >> 4];
        text[2 * i + 1] = digits[byte & 15];
    }
    json_object_set_new(object, hex_name, json_stringn_nocheck(text, 2 * bytes.size));
    free(text);
}

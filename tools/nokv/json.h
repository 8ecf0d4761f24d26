// SPDX-License-Identifier: Apache-2.0
/*
 * json.h - bytes in JSON, which has text only.
 */
#ifndef NOKV_CLI_JSON_H
#define NOKV_CLI_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include <nokv/nokv.h>

/* Set member `name` to the bytes as a string, or `name`_hex to their digits: with `hex`, and when they are no UTF-8. */
void json_set_bytes(json_t *object, const char *name, nokv_slice bytes, bool hex);

#endif

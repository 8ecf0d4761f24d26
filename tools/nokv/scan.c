// SPDX-License-Identifier: Apache-2.0
/*
 * scan.c - walk over a range of keys in either direction and print what is there.
 *
 * Three outputs, one line per entry: escaped (for eyes: KEY<TAB>VALUE), --hex (exact, for scripts), --json (one object
 * per line; a field that is not valid UTF-8 appears as key_hex or value_hex, because JSON has no other bytes).
 *
 * Values are read when they are printed and not otherwise: --keys-only and --sizes take what they show from the tree,
 * so they are fast, and work, whatever is wrong with the value log.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json.h"
#include "text.h"

static const struct cli_option scan_options[] = {
    {"from", 'f', "KEY", "the first key to show (inclusive)"},
    {"to", 't', "KEY", "where to stop (exclusive)"},
    {"prefix", 'p', "BYTES", "only keys that begin with BYTES"},
    {"limit", 'n', "COUNT", "at most so many entries"},
    {"reverse", 'r', NULL, "from the last key to the first"},
    {"keys-only", 'k', NULL, "leave the values out"},
    {"sizes", 's', NULL, "the sizes of the values instead of the values"},
    {"json", 'j', NULL, "one JSON object per line"},
    {"hex", 'x', NULL, "keys, values and the bounds above are hexadecimal"},
    {0},
};

struct scan {
    bool hex, json, keys_only, sizes, reverse;
    uint64_t limit;
    struct bytes from, to, prefix;
};

static bool bound(const struct cli_args *args, const char *name, struct bytes *out)
{
    const char *text = cli_value(args, name);
    if (!text)
        return true;
    if (!cli_flag(args, "hex"))
        bytes_append(out, text, strlen(text));
    else if (!hex_decode(text, out)) {
        cli_usage_error(args, "--%s: '%s' is not hexadecimal", name, text);
        return false;
    }
    return true;
}

static void print_json(const struct scan *scan, nokv_iter *iter, nokv_slice value)
{
    json_t *object = json_object();
    json_set_bytes(object, "key", nokv_iter_key(iter), scan->hex);
    if (scan->sizes)
        json_object_set_new(object, "size", json_integer((json_int_t)nokv_iter_value_size(iter)));
    else if (!scan->keys_only)
        json_set_bytes(object, "value", value, scan->hex);
    json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
}

static void print_bytes(const struct scan *scan, nokv_slice bytes)
{
    if (scan->hex)
        hex_print(stdout, bytes.data, bytes.size);
    else
        escape_print(stdout, bytes.data, bytes.size);
}

static void print_plain(const struct scan *scan, nokv_iter *iter, nokv_slice value)
{
    print_bytes(scan, nokv_iter_key(iter));
    if (scan->sizes) {
        printf("\t%zu", nokv_iter_value_size(iter));
    } else if (!scan->keys_only) {
        putchar('\t');
        print_bytes(scan, value);
    }
}

/* False: the value could not be read, and the iterator says why. */
static bool print_entry(const struct scan *scan, nokv_iter *iter)
{
    nokv_slice value = {0};
    if (!scan->keys_only && !scan->sizes) {
        value = nokv_iter_value(iter);
        if (!nokv_iter_valid(iter))
            return false;
    }
    if (scan->json)
        print_json(scan, iter, value);
    else
        print_plain(scan, iter, value);
    putchar('\n');
    return true;
}

static nokv_status print_entries(const struct scan *scan, nokv_iter *iter)
{
    if (scan->reverse)
        nokv_iter_last(iter);
    else
        nokv_iter_first(iter);
    for (uint64_t shown = 0; shown < scan->limit && nokv_iter_valid(iter) && !ferror(stdout); shown++) {
        if (!print_entry(scan, iter))
            break;
        if (scan->reverse)
            nokv_iter_prev(iter);
        else
            nokv_iter_next(iter);
    }
    return nokv_iter_valid(iter) ? NOKV_OK : nokv_iter_status(iter);
}

static enum cli_exit scan_database(const struct cli_args *args, const struct scan *scan)
{
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_READ, &db) != CLI_OK)
        return CLI_FAILED;
    nokv_iter_options options = {.struct_size = sizeof options,
                                 .lower = {scan->from.data, scan->from.size},
                                 .upper = {scan->to.data, scan->to.size},
                                 .prefix = {scan->prefix.data, scan->prefix.size}};
    nokv_iter *iter = NULL;
    nokv_status status = nokv_iter_create(db, &options, &iter);
    if (status == NOKV_OK)
        status = print_entries(scan, iter);
    enum cli_exit code = status == NOKV_OK ? CLI_OK : cli_status_error(args, status);
    nokv_iter_destroy(iter);
    return cli_close(args, db, code);
}

static enum cli_exit scan_run(const struct cli_args *args)
{
    struct scan scan = {.hex = cli_flag(args, "hex"),
                        .json = cli_flag(args, "json"),
                        .keys_only = cli_flag(args, "keys-only"),
                        .sizes = cli_flag(args, "sizes"),
                        .reverse = cli_flag(args, "reverse"),
                        .limit = UINT64_MAX};
    if (scan.keys_only && scan.sizes)
        return cli_usage_error(args, "--keys-only and --sizes exclude each other");
    enum cli_exit code = CLI_USAGE;
    if (cli_number(args, "limit", 0, UINT64_MAX, &scan.limit) && bound(args, "from", &scan.from) &&
        bound(args, "to", &scan.to) && bound(args, "prefix", &scan.prefix))
        code = scan_database(args, &scan);
    bytes_deinit(&scan.from);
    bytes_deinit(&scan.to);
    bytes_deinit(&scan.prefix);
    return code;
}

const struct cli_command scan_command = {
    .name = "scan",
    .summary = "print a range of keys and values in order",
    .usage = "DB [--from KEY] [--to KEY] [--prefix BYTES] [OPTION...]",
    .description = "Prints KEY<TAB>VALUE per line, in the order of the keys' bytes. Bytes that are\n"
                   "not printable appear as \\xNN, \\t, \\n, \\r or \\\\. With --json each line is an\n"
                   "object with \"key\" and \"value\"; bytes that are no valid UTF-8 come as \"key_hex\"\n"
                   "and \"value_hex\", and with --hex everything does. --keys-only and --sizes read no\n"
                   "value. Never writes to DB.",
    .examples = "  nokv scan people.db --from a --to b\n"
                "  nokv scan people.db --prefix ada/ --keys-only\n"
                "  nokv scan people.db --reverse --limit 1      # the last entry\n"
                "  nokv scan ids.db --hex --from 00000010\n"
                "  nokv scan people.db --sizes | sort -n -k 2 -t \"$(printf '\\t')\"\n"
                "  nokv scan people.db --json | jq .key",
    .options = scan_options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = scan_run,
};

// SPDX-License-Identifier: Apache-2.0
/* example.c - a whole program with libnokv, as short as it gets. `./dev run` prints it, the tests run it. */
#include <nokv/nokv.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    nokv_db *db;
    nokv_value value;
    if (nokv_open(argc > 1 ? argv[1] : "people.db", NULL, &db) != NOKV_OK ||
        nokv_put(db, "ada", 3, "first programmer", 16, NULL) != NOKV_OK ||
        nokv_get(db, "ada", 3, NULL, &value) != NOKV_OK) {
        fprintf(stderr, "%s\n", nokv_error_message());
        return 1;
    }
    printf("%.*s\n", (int)value.size, (const char *)value.data);
    nokv_value_release(&value);
    return nokv_close(db) != NOKV_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* example.c - the shortest honest program with libnokv; `./dev run` prints it, the tests run it: example DB. */
#include <nokv/nokv.h>
#include <stdio.h>

static nokv_status greet(nokv_db *db)
{
    nokv_value value;
    nokv_status status = nokv_put(db, "ada", 3, "first programmer", 16, NULL);
    if (status == NOKV_OK)
        status = nokv_get(db, "ada", 3, NULL, &value); /* in place: nothing is copied */
    if (status == NOKV_OK) {
        printf("%.*s\n", (int)value.size, (const char *)value.data);
        nokv_value_release(&value);
    }
    return status;
}

int main(int argc, char **argv)
{
    nokv_db *db;
    nokv_status status = nokv_open(argc > 1 ? argv[1] : "people.db", NULL, &db);
    if (status == NOKV_OK) {
        status = greet(db);
        nokv_status closed = nokv_close(db);
        status = status == NOKV_OK ? closed : status;
    }
    if (status != NOKV_OK)
        fprintf(stderr, "%s\n", nokv_error_message());
    return status != NOKV_OK;
}

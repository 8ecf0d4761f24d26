// SPDX-License-Identifier: Apache-2.0
/* The one place that ends the process: a broken invariant. stderr, because nobody can be asked any more. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "nokv: broken invariant: %s (%s:%d)\n", expr, file, line);
    abort();
}

// SPDX-License-Identifier: Apache-2.0
/* Statuses and their messages: what is said, by which thread, and that it never needs memory. */
#include "base/status.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "test.h"

static enum nokv_status fail_with_a_story(void)
{
    return FAIL(CORRUPT, "table %d block @%d: checksum", 12, 4096);
}

static enum nokv_status pass_on(bool *went_on)
{
    TRY(fail_with_a_story());
    *went_on = true;
    return NOKV_OK;
}

/* The message names what happened and the line that noticed; TRY hands the code up and stops. */
static void message_tells_the_story(void **state)
{
    (void)state;
    bool went_on = false;
    FAILS(CORRUPT, pass_on(&went_on));
    assert_false(went_on);
    assert_non_null(strstr(status_message(), "table 12 block @4096: checksum"));
    assert_non_null(strstr(status_message(), "status_test.c:"));
    assert_null(strstr(status_message(), "/")); /* no path of the machine it was built on */
}

/* Errors of the system keep their kind and get their text. */
static void errno_is_mapped(void **state)
{
    (void)state;
    FAILS(NO_MEMORY, FAIL_ERRNO(ENOMEM, "x"));
    FAILS(IO, FAIL_ERRNO(EIO, "reading %s", "a file"));
    assert_non_null(strstr(status_message(), "reading a file: "));
    assert_non_null(strstr(status_message(), strerror(EIO)));
    assert_int_equal(status_from_errno(ENOSPC), status_from_errno(EDQUOT));
    assert_int_not_equal(status_from_errno(ENOSPC), NOKV_ERR_IO);
    assert_int_not_equal(status_from_errno(EROFS), NOKV_ERR_IO);
    assert_int_equal(status_from_errno(12345), NOKV_ERR_IO);
}

/* A message that is too long is cut; one made from its predecessor is whole. */
static void long_and_nested_messages(void **state)
{
    (void)state;
    static char text[5000];
    memset(text, 'x', sizeof text - 1);
    FAILS(IO, FAIL(IO, "%s", text));
    assert_true(strlen(status_message()) < 1000);
    FAILS(IO, FAIL_ERRNO(EIO, "%s", text));
    assert_true(strlen(status_message()) < 1000);
    FAILS(IO, FAIL(IO, "inner"));
    FAILS(IO, FAIL_WITH(NOKV_ERR_IO, "outer: %s", status_message()));
    assert_non_null(strstr(status_message(), "outer: inner"));
    status_message_set(text);
    assert_true(strlen(status_message()) < 1000);
}

/* Reporting works when memory is what ran out. */
static void reporting_needs_no_memory(void **state)
{
    (void)state;
    uint64_t before = mem_alloc_count();
    FAILS(NO_MEMORY, FAIL(NO_MEMORY, "no memory for %d bytes", 100));
    assert_int_equal(mem_alloc_count(), before);
}

static void *fail_elsewhere(void *arg)
{
    (void)arg;
    ASSERT(strcmp(status_message(), "") == 0);
    FAILS(IO, FAIL(IO, "elsewhere"));
    return NULL;
}

/* Each thread has its own message, empty at first. */
static void threads_have_their_own(void **state)
{
    (void)state;
    pthread_t thread;
    FAILS(IO, FAIL(IO, "mine"));
    OK(thread_create(&thread, "other", fail_elsewhere, NULL));
    thread_join(thread);
    assert_non_null(strstr(status_message(), "mine"));
}

/* Every code has a name and a text; an unknown one does too. */
static void codes_have_names(void **state)
{
    (void)state;
#define CHECK_(name, number, text)                                     \
    assert_string_equal(status_name((enum nokv_status)number), #name); \
    assert_true(strlen(status_text((enum nokv_status)number)) > 0);
    NOKV_STATUS_LIST(CHECK_)
#undef CHECK_
    assert_string_equal(status_name((enum nokv_status)9999), "NOKV_ERR_?");
    assert_true(strlen(status_text((enum nokv_status)9999)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_tells_the_story),  cmocka_unit_test(errno_is_mapped),
        cmocka_unit_test(long_and_nested_messages), cmocka_unit_test(reporting_needs_no_memory),
        cmocka_unit_test(threads_have_their_own),   cmocka_unit_test(codes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The memory of the machine, and the limit that a container or a service manager set for this process.
 *
 *     /proc/self/cgroup      4:memory:/docker/abc      which group we are in, as seen from our cgroup namespace
 *     /proc/self/mountinfo   ... /docker/abc /sys/fs/cgroup/memory ... - cgroup ... memory
 *                                │           └── where a hierarchy can be seen
 *                                └── which part of it: group and this have to be put together
 *
 * A group is limited by itself and by all groups above it, so each directory is asked from the process's own up to the
 * mount, and the smallest answer counts. In a container we often cannot see our own group by its name (the mount shows
 * another part, or the namespace calls it "/"); the mount's root is then the innermost group that can be asked, and
 * usually ours.
 *
 * [I1] Finding the places and reading numbers are functions of texts alone; only text_read opens anything.
 * [I2] No path with a component ".." is followed: it leads out of our namespace.
 *
 * Threading: no state. Failure: there is none. A file that is missing, cannot be read or makes no sense says nothing,
 * and when none says anything the limit is the machine's memory.
 * Why not ask sysinfo() or sysconf(): both tell of the machine only. Why not memory.stat or swap limits: they say what
 * is used, and the kernel reclaims page cache by itself.
 */
#include "io/limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"

enum { TEXT_BYTES_MAX = 4 << 20 }; /* of a file in /proc: machines with ten thousand mounts exist */

/* ---- texts ---------------------------------------------------------------------------------------------------- */

/* Cuts the piece before the next `separator`, or all of it, off the front. False: nothing is left. */
static bool piece_next(struct slice *rest, uint8_t separator, struct slice *out_piece)
{
    if (rest->size == 0)
        return false;
    const uint8_t *end = memchr(rest->data, separator, rest->size);
    size_t size = end ? (size_t)(end - rest->data) : rest->size;
    *out_piece = slice_make(rest->data, size);
    size_t skip = size + (end != NULL);
    *rest = slice_make(rest->data + skip, rest->size - skip);
    return true;
}

static bool is_text(struct slice s, const char *text)
{
    return slice_equal(s, slice_make(text, strlen(text)));
}

/* Is `word` one of the words of `list`? */
static bool list_has(struct slice list, uint8_t separator, const char *word)
{
    struct slice piece;
    while (piece_next(&list, separator, &piece)) {
        if (is_text(piece, word))
            return true;
    }
    return false;
}

bool limit_parse(struct slice text, uint64_t *out_bytes)
{
    uint64_t value = 0;
    size_t i = 0;
    for (; i < text.size && text.data[i] >= '0' && text.data[i] <= '9'; i++) {
        if (value > INT64_MAX / 10)
            return false;
        value = value * 10 + (text.data[i] - '0');
    }
    bool ends = i == text.size || text.data[i] == '\n';
    if (!ends || value == 0 || value > INT64_MAX)
        return false;
    *out_bytes = value;
    return true;
}

bool limit_parse_meminfo(struct slice text, uint64_t *out_bytes)
{
    struct slice line, word, number = {0};
    while (piece_next(&text, '\n', &line)) {
        if (!piece_next(&line, ' ', &word) || !is_text(word, "MemTotal:"))
            continue;
        while (number.size == 0 && piece_next(&line, ' ', &number))
            continue;
        uint64_t kib = 0;
        if (!is_text(line, "kB") || !limit_parse(number, &kib) || kib > INT64_MAX / 1024)
            return false;
        *out_bytes = kib * 1024;
        return true;
    }
    return false;
}

/* ---- which directories ---------------------------------------------------------------------------------------- */

/* `at` points to three characters. False: they are not octal digits of a byte. */
static bool octal_decode(const uint8_t *at, uint8_t *out_byte)
{
    if (at[0] < '0' || at[0] > '3' || at[1] < '0' || at[1] > '7' || at[2] < '0' || at[2] > '7')
        return false;
    *out_byte = (uint8_t)((at[0] - '0') * 64 + (at[1] - '0') * 8 + (at[2] - '0'));
    return true;
}

/* A path of mountinfo: blanks and the like stand there as \ooo. False: it does not fit. */
static bool path_decode(struct slice text, char out_path[LIMIT_PATH_SIZE])
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '\\' && text.size - i > 3 && octal_decode(text.data + i + 1, &c))
            i += 3;
        if (c == '\0' || size + 1 >= LIMIT_PATH_SIZE)
            return false;
        out_path[size++] = (char)c;
    }
    out_path[size] = '\0';
    return size > 0 && out_path[0] == '/';
}

struct mount {
    bool is_v2; /* otherwise the memory controller's v1 hierarchy */
    char root[LIMIT_PATH_SIZE];
    char point[LIMIT_PATH_SIZE];
};

/* id parent device ROOT POINT options [optional...] - TYPE source SUPEROPTIONS */
static bool mount_parse(struct slice line, struct mount *out_mount)
{
    struct slice fields[5], field, type, source;
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (!piece_next(&line, ' ', &fields[i]))
            return false;
    }
    while (piece_next(&line, ' ', &field) && !is_text(field, "-"))
        continue;
    if (!piece_next(&line, ' ', &type) || !piece_next(&line, ' ', &source))
        return false;
    out_mount->is_v2 = is_text(type, "cgroup2");
    if (!out_mount->is_v2 && !(is_text(type, "cgroup") && list_has(line, ',', "memory")))
        return false;
    return path_decode(fields[3], out_mount->root) && path_decode(fields[4], out_mount->point);
}

/* The groups of this process; "" where it has none. ID:CONTROLLERS:PATH, and 0::PATH for v2. */
static void groups_find(struct slice text, struct slice *out_v2, struct slice *out_v1)
{
    struct slice line, id, controllers;
    *out_v2 = *out_v1 = (struct slice){0};
    while (piece_next(&text, '\n', &line)) {
        if (!piece_next(&line, ':', &id) || !piece_next(&line, ':', &controllers))
            continue;
        if (line.size == 0 || line.data[0] != '/' || memchr(line.data, '\0', line.size) != NULL)
            continue;
        if (is_text(id, "0") && controllers.size == 0)
            *out_v2 = line;
        else if (list_has(controllers, ',', "memory"))
            *out_v1 = line;
    }
}

/* What of `group` is below `root`, with its leading slash or empty. False: it is not below it. */
static bool group_below(struct slice group, const char *root, struct slice *out_rest)
{
    size_t root_size = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (group.size < root_size || (root_size > 0 && memcmp(group.data, root, root_size) != 0))
        return false;
    struct slice rest = slice_make(group.data + root_size, group.size - root_size);
    if (rest.size > 0 && rest.data[0] != '/')
        return false; /* "/a" is not above "/ab" */
    *out_rest = is_text(rest, "/") ? slice_make(NULL, 0) : rest;
    return !list_has(rest, '/', ".."); /* [I2] */
}

/* The first mount that shows our group is taken; without one, the root of the first mount of that kind. */
static void place_offer(struct limit_place *place, const struct mount *m, struct slice group, bool *is_certain)
{
    struct slice rest = {0};
    size_t size = strlen(m->point);
    bool is_ours = group.size > 0 && group_below(group, m->root, &rest) && size + rest.size < LIMIT_PATH_SIZE;
    if (*is_certain || (!is_ours && place->dir[0] != '\0'))
        return;
    memcpy(place->dir, m->point, size);
    if (is_ours && rest.size > 0)
        memcpy(place->dir + size, rest.data, rest.size);
    place->dir[size + (is_ours ? rest.size : 0)] = '\0';
    place->mount_size = size;
    *is_certain = is_ours;
}

void limit_places_find(struct slice cgroup, struct slice mountinfo, struct limit_places *out_places)
{
    struct slice v2, v1, line;
    struct mount mount;
    bool v2_certain = false, v1_certain = false;
    out_places->v2.dir[0] = out_places->v1.dir[0] = '\0';
    out_places->v2.mount_size = out_places->v1.mount_size = 0;
    groups_find(cgroup, &v2, &v1);
    while (piece_next(&mountinfo, '\n', &line)) {
        if (!mount_parse(line, &mount))
            continue;
        if (mount.is_v2)
            place_offer(&out_places->v2, &mount, v2, &v2_certain);
        else
            place_offer(&out_places->v1, &mount, v1, &v1_certain);
    }
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

/* The text of a file, or what there is of it; files in /proc have no size that could be asked for. */
static struct slice text_read(struct buf *text, const char *dir, const char *name)
{
    char path[LIMIT_PATH_SIZE + 64];
    text->size = 0;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && text->size < TEXT_BYTES_MAX) {
        uint8_t *to = buf_reserve(text, 4096);
        ssize_t n = to ? read(fd, to, 4096) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        text->size += (size_t)n;
    }
    if (fd >= 0)
        (void)close(fd);
    return buf_slice(text);
}

static void limit_lower(struct io_memory *memory, struct buf *text, const char *dir, const char *name,
                        const char *source)
{
    uint64_t bytes = 0;
    if (!limit_parse(text_read(text, dir, name), &bytes) || bytes >= memory->limit_bytes)
        return;
    memory->limit_bytes = bytes;
    memory->source = source;
}

/* One directory less, but not above the mount. False: this was the last one. */
static bool place_go_up(struct limit_place *place)
{
    if (strlen(place->dir) <= place->mount_size)
        return false;
    char *slash = strrchr(place->dir, '/');
    size_t size = (size_t)(slash - place->dir);
    place->dir[size > place->mount_size ? size : place->mount_size] = '\0';
    return true;
}

static void limits_apply(struct limit_places *places, struct buf *text, struct io_memory *memory)
{
    if (places->v2.dir[0] != '\0') {
        do {
            limit_lower(memory, text, places->v2.dir, "memory.max", "cgroup v2 memory.max");
            limit_lower(memory, text, places->v2.dir, "memory.high", "cgroup v2 memory.high");
        } while (place_go_up(&places->v2));
    }
    if (places->v1.dir[0] != '\0') {
        do
            limit_lower(memory, text, places->v1.dir, "memory.limit_in_bytes", "cgroup v1 memory.limit_in_bytes");
        while (place_go_up(&places->v1));
    }
}

static uint64_t total_without_proc(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

void limit_read(const char *proc, struct io_memory *out_memory)
{
    struct buf text CLEANUP(buf_deinit) = {0}, mounts CLEANUP(buf_deinit) = {0};
    struct limit_places places;
    struct io_memory memory = {.source = "machine"};
    if (!limit_parse_meminfo(text_read(&text, proc, "meminfo"), &memory.total_bytes))
        memory.total_bytes = total_without_proc();
    memory.limit_bytes = memory.total_bytes;
    struct slice mountinfo = text_read(&mounts, proc, "self/mountinfo");
    limit_places_find(text_read(&text, proc, "self/cgroup"), mountinfo, &places);
    limits_apply(&places, &text, &memory);
    *out_memory = memory;
}

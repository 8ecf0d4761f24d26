// SPDX-License-Identifier: Apache-2.0
/*
 * wal_bench.c - what a commit costs, by the way its bytes leave the process. It decided how the WAL is written.
 *
 * Part A, acknowledgements that survive the death of the process (not a power cut): the same 140 bytes go out with one
 * write(2) each, or are stored into a small, fully allocated, shared file mapping that is written to the log 256 KiB at
 * a time. A private buffer with the same writes is the floor: it is what a log costs that loses acknowledged data.
 *
 * Part B, acknowledgements that survive a power cut: appends of 150 bytes and 4 KiB, one after the other, each durable
 * before the next. Crossed: pwrite + fdatasync or pwritev2(RWF_DSYNC); a file that grows, one that fallocate() made
 * (unwritten extents: the first write of a block changes metadata), one whose blocks hold zeros on the disk already (as
 * a recycled log's do); page cache or O_DIRECT. An O_DIRECT append of 150 bytes writes the last 4 KiB block anew.
 *
 * Items are interleaved: every item once per round, so that a noisy minute hits all of them. Printed are the median of
 * the rounds' own medians, and the least and the largest of these.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "nokv_bench_util.h"

enum {
    COMMIT_SIZE = 140,
    BUFFER_SIZE = 4 << 20,
    FLUSH_SIZE = 256 << 10,
    PAGE = 4096,
    ROUNDS_MAX = 99,
};

struct config {
    char dir[4096];
    unsigned rounds;
    unsigned commits; /* per item and round, part A */
    unsigned appends; /* per item and round, part B */
};

/* The figures of one item, one entry per round. */
struct figures {
    double median[ROUNDS_MAX];
    double p99[ROUNDS_MAX];
    double cpu[ROUNDS_MAX];
};

static int file_open(const struct config *config, const char *name, int flags)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", config->dir, name);
    int fd = open(path, flags | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        bench_die("open %s: %s", path, strerror(errno));
    return fd;
}

static void file_remove(const struct config *config, const char *name, int fd)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", config->dir, name);
    close(fd);
    if (unlink(path) != 0)
        bench_die("unlink %s: %s", path, strerror(errno));
}

static void write_all(int fd, const void *data, size_t size)
{
    if (write(fd, data, size) != (ssize_t)size)
        bench_die("write: %s", strerror(errno));
}

/* ---- part A --------------------------------------------------------------------------------------------------- */

enum commit_way { COMMIT_WRITE, COMMIT_SHARED, COMMIT_PRIVATE, COMMIT_WAYS };

static const char *const commit_names[COMMIT_WAYS] = {
    "write(2) per commit",
    "store into a shared file mapping, 256 KiB writes",
    "store into private memory, 256 KiB writes (unsafe floor)",
};

/* Read back a byte of the record through the compiler's back so that no store may be dropped or merged. */
static void keep(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

static void commit_each_write(int fd, const struct config *config, const uint8_t *record)
{
    for (unsigned i = 0; i < config->commits; i++)
        write_all(fd, record, COMMIT_SIZE);
}

/* A ring of BUFFER_SIZE bytes; whenever FLUSH_SIZE is gathered it is written to the log. */
static void commit_each_store(int fd, const struct config *config, const uint8_t *record, uint8_t *buffer)
{
    size_t head = 0, flushed = 0;
    for (unsigned i = 0; i < config->commits; i++) {
        if (head + COMMIT_SIZE > BUFFER_SIZE) {
            write_all(fd, buffer + flushed, head - flushed);
            head = flushed = 0;
        }
        memcpy(buffer + head, record, COMMIT_SIZE);
        keep(buffer + head);
        head += COMMIT_SIZE;
        if (head - flushed >= FLUSH_SIZE) {
            write_all(fd, buffer + flushed, head - flushed);
            flushed = head;
        }
    }
    write_all(fd, buffer + flushed, head - flushed);
}

static uint8_t *buffer_map(int fd)
{
    if (posix_fallocate(fd, 0, BUFFER_SIZE) != 0)
        bench_die("fallocate of the buffer failed");
    void *map = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        bench_die("mmap: %s", strerror(errno));
    memset(map, 0, BUFFER_SIZE); /* allocated and faulted in before the clock starts, as at open */
    return map;
}

static void commit_round(const struct config *config, enum commit_way way, struct figures *out, unsigned round)
{
    uint8_t record[COMMIT_SIZE];
    memset(record, 'x', sizeof record);
    int log = file_open(config, "log", O_WRONLY | O_APPEND);
    int fd = way == COMMIT_SHARED ? file_open(config, "buffer", O_RDWR) : -1;
    uint8_t *buffer = way == COMMIT_SHARED ? buffer_map(fd) : bench_alloc(BUFFER_SIZE);
    memset(buffer, 1, BUFFER_SIZE);

    uint64_t cpu = bench_cpu_ns(), start = bench_clock_ns();
    if (way == COMMIT_WRITE)
        commit_each_write(log, config, record);
    else
        commit_each_store(log, config, record, buffer);
    out->median[round] = (double)(bench_clock_ns() - start) / config->commits;
    out->cpu[round] = (double)(bench_cpu_ns() - cpu) / config->commits;

    if (way == COMMIT_SHARED) {
        munmap(buffer, BUFFER_SIZE);
        file_remove(config, "buffer", fd);
    } else {
        free(buffer);
    }
    file_remove(config, "log", log);
}

/* Least, median, largest of one column; sorts it. */
static void spread_print(double *values, unsigned rounds, const char *format)
{
    double middle = bench_median(values, rounds);
    printf(format, middle, values[0], values[rounds - 1]);
}

static void part_a(const struct config *config)
{
    struct figures *figures = bench_alloc(COMMIT_WAYS * sizeof *figures);
    for (unsigned round = 0; round < config->rounds; round++)
        for (unsigned way = 0; way < COMMIT_WAYS; way++)
            commit_round(config, way, &figures[way], round);
    printf("Commit of %d bytes, no sync: %u rounds of %u commits\n\n", COMMIT_SIZE, config->rounds, config->commits);
    printf("| how the bytes leave the process | ns per commit | least to largest | CPU ns per commit |\n");
    printf("| --- | ---: | ---: | ---: |\n");
    for (unsigned way = 0; way < COMMIT_WAYS; way++) {
        printf("| %s ", commit_names[way]);
        spread_print(figures[way].median, config->rounds, "| %.0f | %.0f to %.0f ");
        printf("| %.0f |\n", bench_median(figures[way].cpu, config->rounds));
    }
    putchar('\n');
    free(figures);
}

/* ---- part B --------------------------------------------------------------------------------------------------- */

enum space { SPACE_GROWING, SPACE_FALLOCATED, SPACE_ZEROED, SPACES };
static const char *const space_names[SPACES] = {"growing", "fallocate", "zeros on disk"};

struct item {
    unsigned size;
    bool direct;
    enum space space;
    bool dsync; /* pwritev2(RWF_DSYNC), else pwrite + fdatasync */
};

enum { ITEMS_MAX = 2 * 2 * SPACES * 2 };

static unsigned items_list(struct item items[ITEMS_MAX])
{
    unsigned count = 0;
    static const unsigned sizes[] = {150, 4096};
    for (unsigned s = 0; s < 2; s++)
        for (unsigned direct = 0; direct < 2; direct++)
            for (unsigned space = 0; space < SPACES; space++)
                for (unsigned dsync = 0; dsync < 2; dsync++)
                    items[count++] = (struct item){sizes[s], direct, space, dsync};
    return count;
}

/* Give the file the space that its item asks for, durably, before the clock starts. */
static void space_prepare(int fd, enum space space, size_t bytes)
{
    if (space != SPACE_GROWING && posix_fallocate(fd, 0, (off_t)bytes) != 0)
        bench_die("fallocate failed");
    if (space == SPACE_ZEROED) {
        uint8_t *zeros = aligned_alloc(PAGE, 1 << 20);
        if (!zeros)
            bench_die("out of memory");
        memset(zeros, 0, 1 << 20);
        for (size_t off = 0; off < bytes; off += 1 << 20)
            if (pwrite(fd, zeros, 1 << 20, (off_t)off) != 1 << 20)
                bench_die("pwrite: %s", strerror(errno));
        free(zeros);
    }
    if (fsync(fd) != 0)
        bench_die("fsync: %s", strerror(errno));
}

static void append_durable(int fd, const struct item *item, const uint8_t *data, size_t size, off_t off)
{
    struct iovec vec = {(void *)(uintptr_t)data, size};
    ssize_t written = item->dsync ? pwritev2(fd, &vec, 1, off, RWF_DSYNC) : pwrite(fd, data, size, off);
    if (written != (ssize_t)size || (!item->dsync && fdatasync(fd) != 0))
        bench_die("durable append: %s", strerror(errno));
}

/* An O_DIRECT append covers whole blocks: those in which the record lies, with what stands before it in the first. */
static void append_one(int fd, const struct item *item, const uint8_t *block, size_t index)
{
    size_t begin = index * item->size, end = begin + item->size;
    if (item->direct) {
        begin = begin / PAGE * PAGE;
        end = (end + PAGE - 1) / PAGE * PAGE;
    }
    append_durable(fd, item, block, end - begin, (off_t)begin);
}

static void append_round(const struct config *config, const struct item *item, struct figures *out, unsigned round)
{
    size_t bytes = ((size_t)config->appends * item->size / (1 << 20) + 1) << 20;
    int fd = file_open(config, "log", O_WRONLY | (item->direct ? O_DIRECT : 0));
    space_prepare(fd, item->space, bytes);
    uint8_t *block = aligned_alloc(PAGE, 4 * PAGE);
    if (!block)
        bench_die("out of memory");
    memset(block, 'x', 4 * PAGE);
    double *times = bench_alloc(config->appends * sizeof *times);

    uint64_t cpu = bench_cpu_ns();
    for (unsigned i = 0; i < config->appends; i++) {
        uint64_t start = bench_clock_ns();
        append_one(fd, item, block, i);
        times[i] = (double)(bench_clock_ns() - start) / 1000.0;
    }
    out->cpu[round] = (double)(bench_cpu_ns() - cpu) / config->appends / 1000.0;
    out->median[round] = bench_median(times, config->appends);
    out->p99[round] = times[config->appends * 99 / 100];

    free(times);
    free(block);
    file_remove(config, "log", fd);
}

static void part_b(const struct config *config)
{
    struct item items[ITEMS_MAX];
    unsigned count = items_list(items);
    struct figures *figures = bench_alloc(count * sizeof *figures);
    for (unsigned round = 0; round < config->rounds; round++)
        for (unsigned i = 0; i < count; i++)
            append_round(config, &items[i], &figures[i], round);
    printf("Durable append: %u rounds of %u appends\n\n", config->rounds, config->appends);
    printf("| bytes | path | file | call | median us | least to largest | p99 us | CPU us |\n");
    printf("| ---: | --- | --- | --- | ---: | ---: | ---: | ---: |\n");
    for (unsigned i = 0; i < count; i++) {
        printf("| %u | %s | %s | %s ", items[i].size, items[i].direct ? "O_DIRECT" : "page cache",
               space_names[items[i].space], items[i].dsync ? "RWF_DSYNC" : "fdatasync");
        spread_print(figures[i].median, config->rounds, "| %.0f | %.0f to %.0f ");
        printf("| %.0f | %.1f |\n", bench_median(figures[i].p99, config->rounds),
               bench_median(figures[i].cpu, config->rounds));
    }
    free(figures);
}

static unsigned number_parse(const char *text, unsigned max)
{
    unsigned long value = strtoul(text, NULL, 10);
    if (value == 0 || value > max)
        bench_die("%s: a number from 1 to %u is needed", text, max);
    return (unsigned)value;
}

int main(int argc, char **argv)
{
    struct config config = {.rounds = 5, .commits = 300000, .appends = 200};
    const char *parent = ".";
    bool a = true, b = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
            parent = argv[++i];
        else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
            config.rounds = number_parse(argv[++i], ROUNDS_MAX);
        else if (strcmp(argv[i], "--appends") == 0 && i + 1 < argc)
            config.appends = number_parse(argv[++i], 1000000);
        else if (strcmp(argv[i], "--commits") == 0 && i + 1 < argc)
            config.commits = number_parse(argv[++i], 100000000);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            a = strcmp(argv[++i], "commit") == 0, b = !a;
        else
            bench_die("usage: wal_bench [--dir D] [--runs N] [--commits N] [--appends N] [--only commit|append]");
    }
    snprintf(config.dir, sizeof config.dir, "%s/wal_bench.%d", parent, (int)getpid());
    bench_dir_make(config.dir);
    if (a)
        part_a(&config);
    if (b)
        part_b(&config);
    bench_dir_remove(config.dir);
    return 0;
}

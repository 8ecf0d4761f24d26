// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_result.c - prints what was measured of a phase: an object of JSON per line, or a line for people.
 */
#include "nokv_bench_result.h"

#include <stdio.h>

/* Keys and values per second, in and out; of all threads together. */
static double mb_per_sec(const struct result *r)
{
    return r->ops ? r->ops_per_sec * (double)r->user_bytes / (double)r->ops / 1e6 : 0;
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

void result_print_json(const struct run *run, const struct result *r)
{
    const struct run_options *o = run->options;
    printf("{\"engine\":\"%s\",\"version\":\"%s\",\"workload\":\"%s\",\"after\":\"%s\",\"generation\":%lu,\"round\":%u,"
           "\"keys\":%lu,\"key_"
           "size\":%d,"
           "\"value_size\":%zu,\"threads\":%u,\"durable\":%s,\"memory_bytes\":%lu,\"filter_bits\":%u,\"seed\":%lu,",
           run->engine->name, run->engine->version(), r->phase->workload->name, run->after, run->generation, o->round,
           o->keys, DATA_KEY_SIZE, o->value_size, r->phase->threads, run->config.durable ? "true" : "false",
           o->memory_bytes, o->filter_bits, o->seed);
    printf("\"ops\":%lu,\"seconds\":%.6f,\"ops_per_sec\":%.1f,\"mb_per_sec\":%.3f,\"p50_us\":%.3f,\"p99_us\":%.3f,"
           "\"p999_us\":%.3f,"
           "\"max_us\":%.3f,\"cpu_us_per_op\":%.3f,\"other_cores\":%.3f,",
           r->ops, r->seconds, r->ops_per_sec, mb_per_sec(r), latency_us(&r->latency, 0.5),
           latency_us(&r->latency, 0.99), latency_us(&r->latency, 0.999), latency_max_us(&r->latency), r->cpu_us_per_op,
           r->other_cores);
    printf("\"user_bytes\":%lu,\"device_bytes\":%lu,\"blockdev_bytes\":%lu,\"disk_bytes\":%lu,\"peak_rss_bytes\":%lu,"
           "\"peak_anon_bytes\":%lu,\"found\":%lu,\"missing\":%lu,\"wrong\":%lu,",
           r->user_bytes, r->device_bytes, r->blockdev_bytes, r->disk_bytes, r->peak_rss_bytes, r->peak_anon_bytes,
           r->found, r->missing, r->wrong);
    printf("\"disk_peak_bytes\":%lu,\"live_bytes\":%lu,\"space_amp\":%.4f,\"space_amp_peak\":%.4f,"
           "\"total_user_bytes\":%lu,\"total_device_bytes\":%lu,\"total_blockdev_bytes\":%lu,\"write_amp\":%.4f,"
           "\"write_amp_blockdev\":%.4f}\n",
           r->disk_peak_bytes, r->live_bytes, ratio(r->disk_bytes, r->live_bytes),
           ratio(r->disk_peak_bytes, r->live_bytes), r->total_user_bytes, r->total_device_bytes,
           r->total_blockdev_bytes, ratio(r->total_device_bytes, r->total_user_bytes),
           ratio(r->total_blockdev_bytes, r->total_user_bytes));
    fflush(stdout);
}

void result_print_text(const struct run *run, const struct result *r)
{
    char rate[16];
    printf("%-12s %-10s %2ut ", run->engine->name, r->phase->workload->name, r->phase->threads);
    if (r->phase->workload->body)
        printf("%9s op/s  %6.0f MB/s  p50 %7.2f  p99 %8.2f  p99.9 %8.2f  max %9.0f us  cpu %6.2f us/op  ",
               bench_human(r->ops_per_sec, rate), mb_per_sec(r), latency_us(&r->latency, 0.5),
               latency_us(&r->latency, 0.99), latency_us(&r->latency, 0.999), latency_max_us(&r->latency),
               r->cpu_us_per_op);
    printf("%6.2f s  written %5.0f MB (device %5.0f; in all %.2f per user byte)  disk %5.0f MB, peak %5.0f (%.2f, peak "
           "%.2f of live)  rss %4.0f MB (anon %4.0f)  wrong %lu\n",
           r->seconds, (double)r->device_bytes / 1e6, (double)r->blockdev_bytes / 1e6,
           ratio(r->total_device_bytes, r->total_user_bytes), (double)r->disk_bytes / 1e6,
           (double)r->disk_peak_bytes / 1e6, ratio(r->disk_bytes, r->live_bytes),
           ratio(r->disk_peak_bytes, r->live_bytes), (double)r->peak_rss_bytes / 1e6, (double)r->peak_anon_bytes / 1e6,
           r->wrong);
    fflush(stdout);
}

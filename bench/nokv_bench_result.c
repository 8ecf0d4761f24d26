// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_result.c - prints what was measured of a phase: an object of JSON per line, or a line for people.
 *
 * The names of the fields are a contract with everything that reads results files; a figure that was not taken is null.
 * An object stands for itself, with the machine and the engine's terms in it: lines of several files can be sorted,
 * picked and put together.
 */
#include "nokv_bench_result.h"

#include <jansson.h>
#include <stdio.h>

#include "nokv_bench_group.h"
#include "nokv_bench_machine.h"

/* Keys and values per second, in and out; of all threads together. */
static double mb_per_sec(const struct result *r)
{
    return r->ops ? r->ops_per_sec * (double)r->user_bytes / (double)r->ops / 1e6 : 0;
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

/* ---- JSON ----------------------------------------------------------------------------------------------------- */

/* Takes `value`; NULL is what jansson returns when memory is short or a string is not UTF-8. */
static void set(json_t *object, const char *name, json_t *value)
{
    if (!value || json_object_set_new(object, name, value) != 0)
        bench_die("field \"%s\" cannot be written as JSON", name);
}

static void set_text(json_t *object, const char *name, const char *text)
{
    set(object, name, json_string(text));
}

static void set_count(json_t *object, const char *name, uint64_t count)
{
    set(object, name, json_integer((json_int_t)count));
}

static void set_real(json_t *object, const char *name, double value)
{
    set(object, name, json_real(value));
}

/* The limit that is in force in this phase, and what of it is used; null without one. */
static void set_limit(json_t *object, const struct run *run, const struct result *r)
{
    bool limited = run->memory_limit_bytes > 0;
    set(object, "memory_limit_bytes", limited ? json_integer((json_int_t)run->memory_limit_bytes) : json_null());
    set(object, "memory_used_bytes", limited ? json_integer((json_int_t)r->memory_used_bytes) : json_null());
    if (limited && !group_swap_bounded(run->options->memory_group))
        set_text(object, "memory_note", "memory.swap could not be limited: what was swapped out is beyond the limit");
}

static void set_setting(json_t *object, const struct run *run, const struct result *r)
{
    const struct run_options *o = run->options;
    set_text(object, "engine", run->engine->name);
    set_text(object, "version", run->engine->version());
    set_text(object, "workload", r->phase->workload->name);
    set_text(object, "after", run->after);
    set_count(object, "generation", run->generation);
    set_count(object, "round", o->round);
    set_count(object, "keys", o->keys);
    set_count(object, "key_size", DATA_KEY_SIZE);
    set_count(object, "value_size", o->value_size);
    set_text(object, "value_sizes", o->value_mixed ? "mixed" : "fixed");
    set_count(object, "threads", r->phase->threads);
    set(object, "durable", json_boolean(run->config.durable));
    set_count(object, "memory_bytes", run->config.memory_bytes);
    set_limit(object, run, r);
    set_count(object, "filter_bits", o->filter_bits);
    set_count(object, "seed", o->seed);
}

/* Points of the distribution: [part of the operations, microseconds within which they ended], ascending. */
static json_t *latency_curve(const struct latency *latency)
{
    static const double parts[] = {0.1, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 0.99999};
    json_t *curve = json_array();
    if (!curve)
        bench_die("out of memory");
    for (size_t i = 0; latency->count && i <= sizeof parts / sizeof *parts; i++) {
        bool last = i == sizeof parts / sizeof *parts;
        double part = last ? 1 : parts[i], us = last ? latency_max_us(latency) : latency_us(latency, part);
        if (json_array_append_new(curve, json_pack("[ff]", part, us)) != 0)
            bench_die("out of memory");
    }
    return curve;
}

static void set_speed(json_t *object, const struct result *r)
{
    set_count(object, "ops", r->ops);
    set_real(object, "seconds", r->seconds);
    set_real(object, "ops_per_sec", r->ops_per_sec);
    set_real(object, "mb_per_sec", mb_per_sec(r));
    set_real(object, "p50_us", latency_us(&r->latency, 0.5));
    set_real(object, "p99_us", latency_us(&r->latency, 0.99));
    set_real(object, "p999_us", latency_us(&r->latency, 0.999));
    set_real(object, "max_us", latency_max_us(&r->latency));
    set(object, "latency_us", latency_curve(&r->latency));
    set_real(object, "cpu_us_per_op", r->cpu_us_per_op);
    set_real(object, "other_cores", r->other_cores);
}

static void set_counters(json_t *object, const struct run *run, const struct result *r)
{
    bool counted = !run->uncounted;
    set(object, "syscalls_per_op", counted ? json_real(ratio(r->counters.syscalls, r->ops_all)) : json_null());
    set_real(object, "minor_faults_per_op", ratio(r->counters.minor_faults, r->ops_all));
    set_real(object, "major_faults_per_op", ratio(r->counters.major_faults, r->ops_all));
    set_real(object, "device_read_bytes_per_op", ratio(r->device_read_bytes, r->ops_all));
    set_real(object, "context_switches_per_op", ratio(r->counters.switches, r->ops_all));
    set_count(object, "found", r->found);
    set_count(object, "missing", r->missing);
    set_count(object, "wrong", r->wrong);
    set_real(object, "background_ops", r->background_ops_per_sec);
    set_count(object, "inserted", r->inserted);
}

static void set_bytes(json_t *object, const struct result *r)
{
    set_count(object, "user_bytes", r->user_bytes);
    set(object, "device_bytes", json_integer(r->device_bytes));
    set_count(object, "blockdev_bytes", r->blockdev_bytes);
    set_count(object, "disk_bytes", r->disk_bytes);
    set_count(object, "disk_peak_bytes", r->disk_peak_bytes);
    set_count(object, "peak_rss_bytes", r->peak_rss_bytes);
    set_count(object, "peak_anon_bytes", r->peak_anon_bytes);
    set_count(object, "driver_bytes", r->driver_bytes);
    set_count(object, "live_bytes", r->live_bytes);
    set_real(object, "space_amp", ratio(r->disk_bytes, r->live_bytes));
    set_real(object, "space_amp_peak", ratio(r->disk_peak_bytes, r->live_bytes));
    set_count(object, "total_user_bytes", r->total_user_bytes);
    set_count(object, "total_device_bytes", r->total_device_bytes);
    set_count(object, "total_blockdev_bytes", r->total_blockdev_bytes);
    set_real(object, "write_amp", ratio(r->total_device_bytes, r->total_user_bytes));
    set_real(object, "write_amp_blockdev", ratio(r->total_blockdev_bytes, r->total_user_bytes));
}

static void set_surroundings(json_t *object, const struct run *run)
{
    struct machine_facts facts;
    machine_look(run->dir, &facts);
    json_t *machine = json_object();
    set(object, "machine", machine);
    set_count(machine, "cpus", facts.cpus);
    set_text(machine, "cpu", facts.cpu);
    set_count(machine, "memory_bytes", facts.memory_bytes);
    set_count(machine, "read_ahead_bytes", facts.read_ahead_bytes);
    set_text(machine, "kernel", facts.kernel);
    set_text(machine, "filesystem", facts.filesystem);
    set_text(object, "terms", run->engine->terms);
    if (run->uncounted)
        set_text(object, "syscalls_note", run->uncounted);
}

void result_print_json(const struct run *run, const struct result *r)
{
    json_t *object = json_object();
    if (!object)
        bench_die("out of memory");
    set_setting(object, run, r);
    set_speed(object, r);
    set_counters(object, run, r);
    set_bytes(object, r);
    set_surroundings(object, run);
    if (json_dumpf(object, stdout, RESULT_JSON_FLAGS) != 0)
        bench_die("a result cannot be written");
    putchar('\n');
    fflush(stdout);
    json_decref(object);
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

static void counters_print_text(const struct run *run, const struct result *r)
{
    if (!run->uncounted)
        printf("%.4g syscalls/op  ", ratio(r->counters.syscalls, r->ops_all));
    printf("%.3g minor, %.3g major faults/op  ", ratio(r->counters.minor_faults, r->ops_all),
           ratio(r->counters.major_faults, r->ops_all));
    if (run->cold)
        printf("%.0f bytes read/op  ", ratio(r->device_read_bytes, r->ops_all));
    if (run->memory_limit_bytes)
        printf("limit %.1f MB, used %.1f  ", (double)run->memory_limit_bytes / 1e6, (double)r->memory_used_bytes / 1e6);
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
    counters_print_text(run, r);
    printf("%6.2f s  written %5.0f MB (device %5.0f; in all %.2f per user byte)  disk %5.0f MB, peak %5.0f (%.2f, peak "
           "%.2f of live)  rss %4.0f MB (anon %4.0f)  wrong %lu\n",
           r->seconds, (double)r->device_bytes / 1e6, (double)r->blockdev_bytes / 1e6,
           ratio(r->total_device_bytes, r->total_user_bytes), (double)r->disk_bytes / 1e6,
           (double)r->disk_peak_bytes / 1e6, ratio(r->disk_bytes, r->live_bytes),
           ratio(r->disk_peak_bytes, r->live_bytes), (double)r->peak_rss_bytes / 1e6, (double)r->peak_anon_bytes / 1e6,
           r->wrong);
    fflush(stdout);
}

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--keep] [DIR] - what ./dev run shows: a real directory tree goes into a database, the import is killed in the
# middle with SIGKILL, the database is opened again, nothing that was acknowledged is missing, the import is finished,
# and every byte is compared with the source files.
#
# NOKV_BIN names the `nokv` command or the build directory that has it (default: build/release).
# The work is done below ${TMPDIR:-/tmp} and removed at the end, also after an error or Ctrl-C; --keep keeps it.
# Exit code 0 only when everything that is claimed was shown.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree_bytes_max=$((2 * 1024 * 1024 * 1024))
keep=0 tree='' work='' child='' step=0

# ---- words ---------------------------------------------------------------------------------------------------------

if [[ -t 1 && ${TERM:-dumb} != dumb && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

say() { printf '%s\n' "$*"; }
die() {
    printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2
    exit 1
}
headline() {
    step=$((step + 1))
    printf '\n%s%d. %s%s\n' "$bold" "$step" "$*" "$plain"
}
show_command() { printf '%s   $ %s%s\n' "$dim" "$*" "$plain"; }
good() { printf '   %s%s%s\n' "$green" "$*" "$plain"; }
indent() { sed 's/^/ /'; }

human() { awk -v b="$1" 'BEGIN {
    split("bytes KiB MiB GiB TiB", unit, " "); i = 1
    while (b >= 1000 && i < 5) { b /= 1024; i++ }
    printf(i == 1 ? "%d %s" : "%.1f %s", b, unit[i]) }'; }
grouped() { sed -e ':a' -e 's/^\([0-9]\{1,\}\)\([0-9]\{3\}\)/\1,\2/;ta' <<<"$1"; }

# ---- preparation ---------------------------------------------------------------------------------------------------

cleanup() {
    local code=$?
    trap - EXIT
    if [[ -n $child ]]; then
        kill -KILL "$child" 2>/dev/null || true
        { wait "$child" || true; } 2>/dev/null
    fi
    if [[ -n $work ]]; then
        if [[ $keep -eq 1 ]]; then say "kept: $work"; else rm -rf "$work"; fi
    fi
    exit "$code"
}

find_nokv() {
    local root candidate
    root=$(cd "$here/../.." && pwd)
    for candidate in ${NOKV_BIN:+"$NOKV_BIN" "$NOKV_BIN/tools/nokv" "$NOKV_BIN/nokv"} "$root/build/release/tools/nokv"; do
        if [[ -f $candidate && -x $candidate ]]; then
            nokv=$candidate
            return
        fi
    done
    die "the nokv command is not built; ./dev run builds it, or set NOKV_BIN to the build directory"
}

# "FILES BYTES" of a tree, as import counts them.
measure() { "$nokv" import --dry-run "$1" "$work/db" 2>/dev/null | awk '{ print $2 }' | xargs; }

# The largest tree of at most 2 GiB that every Debian machine has.
choose_tree() {
    local candidate files bytes best=0
    for candidate in /usr/share /usr/lib /usr/share/doc /usr/bin /usr/include; do
        [[ -d $candidate ]] || continue
        [[ $(du -sk --apparent-size "$candidate" 2>/dev/null | cut -f 1) -le $((tree_bytes_max / 1024)) ]] || continue
        read -r files bytes < <(measure "$candidate")
        if [[ $bytes -le $tree_bytes_max && $bytes -gt $best ]]; then
            best=$bytes tree=$candidate tree_files=$files tree_bytes=$bytes
        fi
    done
    [[ $best -gt 0 ]] || die "no tree of at most 2 GiB was found; name a directory"
}

check_space() {
    local free_kib need_kib=$((tree_bytes * 3 / 1024 + 256 * 1024))
    free_kib=$(df -Pk "$work" | awk 'NR == 2 { print $4 }')
    [[ $free_kib -ge $need_kib ]] ||
        die "$(human $((need_kib * 1024))) of free space are needed in ${TMPDIR:-/tmp}, $(human $((free_kib * 1024)))" \
            "are there; set TMPDIR to a larger file system, or name a smaller directory"
}

# ---- differences that are not ours ---------------------------------------------------------------------------------

# Lines "WHAT<TAB>PATH" on standard input; prints those that a change of the source since the start does not explain.
unexplained() {
    local what path file
    while IFS=$'\t' read -r what path; do
        case $what in missing | extra | different) ;; *) continue ;; esac
        printf -v file '%b' "$tree/$path"
        [[ -e $file ]] || continue
        [[ -n $(find "$file" -prune -cnewer "$work/started" 2>/dev/null) ]] || printf '%s\t%s\n' "$what" "$path"
    done
}

# Run `nokv verify` with the arguments, show what it says; a difference ends the demo with an explanation.
verify_or_explain() {
    local out=$work/verify.out code=0 faults
    "$nokv" verify "$work/db" "$@" >"$out" || code=$?
    grep -v -E $'^(missing|extra|different)\t' "$out" | indent || true
    [[ $code -ne 0 ]] || return 0
    faults=$(unexplained <"$out" | head -n 20)
    if [[ $code -eq 1 && -z $faults ]]; then
        grep -E $'^(missing|extra|different)\t' "$out" | head -n 5 | indent
        die "the source tree changed while this ran (above), so that it cannot be compared; the database is what the
files were when they were read. Run it again, or name a directory that nobody writes to."
    fi
    keep=1
    [[ -z $faults ]] || say "$faults"
    die "THIS MUST NOT HAPPEN: nokv verify said no (exit code $code). Please report it."
}

# ---- the steps -----------------------------------------------------------------------------------------------------

# Sets acked_bytes to the last sum in the log; a torn last line gives less, or 0. No command substitution here: bash 5.2
# can stumble over a Ctrl-C that arrives while it parses one, and this runs all the time.
read_acked_bytes() {
    acked_bytes=0
    tail -n 1 "$work/acked.log" >"$work/last" || return 0
    IFS=$'\t' read -r _ _ acked_bytes <"$work/last" || true
    [[ $acked_bytes =~ ^[0-9]+$ ]] || acked_bytes=0
}

wait_until_half() {
    read_acked_bytes
    while kill -0 "$child" 2>/dev/null && [[ $acked_bytes -lt $((tree_bytes / 2)) ]]; do
        sleep 0.02
        read_acked_bytes
    done
}

import_and_kill() {
    local begin end code=0
    headline "Import the tree, and kill the process in the middle with SIGKILL"
    show_command "nokv import $tree db --ack-fd 3 3>acked.log"
    say "   acked.log gets a line for each file, after the engine has acknowledged it"
    : >"$work/acked.log"
    begin=${EPOCHREALTIME/./}
    "$nokv" import "$tree" "$work/db" --ack-fd 3 3>"$work/acked.log" >"$work/import1.out" &
    child=$!
    wait_until_half
    kill -KILL "$child" 2>/dev/null || true
    { wait "$child" || code=$?; } 2>/dev/null
    end=${EPOCHREALTIME/./}
    child=''
    [[ -t 2 ]] && printf '\r\e[K' >&2
    read_acked_bytes
    first_ns=$(((end - begin) * 1000)) first_bytes=$acked_bytes first_files=$(wc -l <"$work/acked.log")
    if [[ $code -eq 137 ]]; then
        good "killed; acknowledged by then: $(grouped "$first_files") files, $(human "$first_bytes")" \
            "($((first_bytes * 100 / (tree_bytes > 0 ? tree_bytes : 1))) % of the tree)"
    elif [[ $code -le 1 ]]; then
        say "   it was faster than the kill: this tree is small. The checks are the same."
    else
        cat "$work/import1.out"
        die "the import failed (exit code $code)"
    fi
}

check_acknowledged() {
    headline "Open it again: is each acknowledged file there, byte for byte?"
    show_command "nokv verify db --against $tree --acked acked.log"
    verify_or_explain --against "$tree" --acked "$work/acked.log"
    good "nothing that was acknowledged is lost"
    say "   (the log's buffer outlives the process; against power cuts there is --sync)"
}

finish_import() {
    local code=0
    headline "Finish the import: the same command goes on where it was"
    show_command "nokv import $tree db --settle"
    "$nokv" import "$tree" "$work/db" --settle --stats "$work/import.stats" >"$work/import2.out" || code=$?
    indent <"$work/import2.out"
    [[ $code -le 1 ]] || die "the import failed (exit code $code)"
    [[ $code -eq 0 ]] || say "   (exit code 1: files were left out, as named above)"
}

check_database() {
    headline "Is the database sound? Every checksum, the order, every reference"
    show_command "nokv verify db"
    verify_or_explain
    verify_text=$(sed -n 's/^  time, rate  *//p' "$work/verify.out")
    good "sound"
}

check_tree() {
    headline "Is it the tree? Every byte, both ways: missing, different, extra"
    show_command "nokv verify db --against $tree"
    verify_or_explain --against "$tree"
    compare_text=$(sed -n 's/^  time, rate  *//p' "$work/verify.out")
    if grep -q '^  left out' "$work/verify.out"; then
        good "what import took and the files it took are the same"
    else
        good "the database and the directory tree are the same"
    fi
}

probe_reads() {
    headline "Random reads of single keys"
    show_command "nokv probe db"
    "$nokv" probe "$work/db" --stats "$work/probe.stats" | indent
}

# ---- the tables ----------------------------------------------------------------------------------------------------

# One row per component: import's counters for what writes, the probe's for what reads: tables and values.
component_table() {
    awk '
    function human(b,  u, i) {
        split("B KiB MiB GiB TiB", u, " ")
        for (i = 1; b >= 1000 && i < 5; i++) b /= 1024
        return sprintf(i == 1 ? "%d %s" : "%.1f %s", b, u[i])
    }
    function row(label, v, name, calls, operations, unit,  p, known) {
        p = "component." name "."
        known = (p "resident_bytes") in v && v[p "files"] > 0
        printf "   %-10s %-6s %5s %9s %9s %9s %7d %8.4f %s\n", label, v[p "model"],
            (v[p "files"] > 0 ? v[p "files"] : "-"), (v[p "files"] > 0 ? human(v[p "bytes"]) : "-"),
            (known ? human(v[p "resident_bytes"]) : "-"), (v[p "writes"] > 0 ? human(v[p "write_bytes"]) : "-"),
            calls, (operations > 0 ? calls / operations : 0), unit
    }
    function writer(label, name) {
        row(label, import, name, import["component." name ".calls"], import["import.files"], "/file")
    }
    FNR == NR { import[$1] = $2; next }
    { probe[$1] = $2 }
    END {
        printf "   %-10s %-6s %5s %9s %9s %9s %7s %s\n", "component", "I/O", "files", "on disk", "in memory",
            "written", "calls", "calls per"
        writer("WAL", "wal")
        writer("MANIFEST", "manifest")
        writer("flush", "flush")
        writer("compaction", "compaction")
        writer("lock, dirs", "other")
        if (import["component.vlog.files"] > 0) writer("value log", "vlog")
        gets = probe["probe.first.gets"] + probe["probe.hot.gets"]
        values = probe["probe.first.vlog_calls"] + probe["probe.hot.vlog_calls"]
        row("tables", probe, "sst", probe["probe.first.calls"] + probe["probe.hot.calls"] - values, gets, "/get")
        if (probe["component.vlog.files"] > 0) row("values", probe, "vlog", values, gets, "/get")
    }' "$work/import.stats" "$work/probe.stats"
}

stat_of() { awk -v name="$2" '$1 == name { print $2 }' "$work/$1.stats"; }

rates_table() {
    awk -v bytes="$first_bytes" -v files="$first_files" -v ns="$first_ns" \
        'BEGIN { printf "   %-26s %.0f MB/s, %.0f files/s (first run, until the kill)\n", "import", bytes * 1000 / ns, files * 1e9 / ns }'
    awk -v ns="$(stat_of import import.open_ns)" -v records="$(stat_of import recovered_records)" \
        -v cut="$(stat_of import recovered_cut_bytes)" \
        'BEGIN { printf "   %-26s %.0f ms: %d log records replayed, %d torn bytes\n", "recovery after the kill", ns / 1e6, records, cut }'
    printf '   %-26s %s\n' 'verify, checksums' "$verify_text" 'verify, against the files' "$compare_text"
    awk '{ v[$1] = $2 } END {
        hot = "probe.hot."; first = "probe.first."
        printf "   %-26s %.0f ns, %.4f system calls, %.4f page faults\n", "get, again and again",
            v[hot "ns"] / v[hot "gets"], v[hot "calls"] / v[hot "gets"], v[hot "minor_faults"] / v[hot "gets"]
        printf "   %-26s %.0f ns, %.4f system calls, %.4f page faults\n", "get, first time",
            v[first "ns"] / v[first "gets"], v[first "calls"] / v[first "gets"], v[first "minor_faults"] / v[first "gets"]
    }' "$work/probe.stats"
}

show_tables() {
    printf '\n%sWhat did what%s\n\n' "$bold" "$plain"
    component_table
    cat <<TEXT

   calls: system calls of the engine. Per file: everything that the import of
   step 3 did, its recovery included, over the $(grouped "$(stat_of import import.files)") files that it stored.
   Per get: both passes of step 6. in memory: bytes of these files in the page
   cache, '-' not known. Flush and compaction write tables and, like whoever
   puts a large value, segments of the value log: the last lines, where
   "values" are the reads of it. auto: values below 4 KiB through a mapping,
   larger ones with pread.
   io_uring: $(awk '$1 == "io_uring" { $1 = ""; print substr($0, 2) }' "$work/import.stats")
TEXT
    printf '\n%sHow fast%s\n\n' "$bold" "$plain"
    rates_table
}

show_embedding() {
    printf '\n%sIn your program%s  (cc app.c $(pkg-config --cflags --libs nokv))\n\n' "$bold" "$plain"
    sed -n '/^#include/,$p' "$here/example.c" | sed 's/^/   /'
    printf '\n%sTo look around%s  %s --help\n' "$bold" "$plain" "$nokv"
}

main() {
    while [[ $# -gt 0 ]]; do
        case $1 in
        --keep) keep=1 ;;
        -h | --help)
            sed -n '4,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            return
            ;;
        -*) die "unknown option '$1' (there is --keep)" ;;
        *) tree=${1%/} ;;
        esac
        shift
    done
    [[ -z $tree || -d $tree ]] || die "'$tree' is not a directory"
    find_nokv
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    work=$(mktemp -d "${TMPDIR:-/tmp}/nokv-demo.XXXXXX")
    touch "$work/started"
    say "${bold}NoKV: a real directory tree in, killed in the middle, every byte back${plain}"
    say
    if [[ -n $tree ]]; then
        tree=$(cd "$tree" && pwd)
        read -r tree_files tree_bytes < <(measure "$tree")
    else
        choose_tree
    fi
    [[ ${tree_files:-0} -gt 0 ]] || die "there is no file to import below $tree"
    say "   the tree    $tree: $(grouped "$tree_files") files, $(human "$tree_bytes")"
    say "   the work    $work ($([[ $keep -eq 1 ]] && echo kept || echo "removed at the end"))"
    check_space
    import_and_kill
    check_acknowledged
    finish_import
    check_database
    check_tree
    probe_reads
    show_tables
    show_embedding
}

main "$@"

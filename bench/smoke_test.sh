#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every engine that is built in answers every workload rightly on a small database, with values that stay in tables and
# values that are large enough to be kept apart from them, and the benchmark notices when what comes back is wrong
# (values of another seed; of an older or newer version; keys that were never put, or are back). A comparison of the
# engines ends in tables. Engines are tried side by side.
# smoke_test.sh NOKV_BENCH
set -u
bench=$1
# Most of it in memory where there is room: files are synced more than a thousand times in all, and what a sync waits for
# on a disk that others use has no bounds.
disk=$(mktemp -d)
dir=$disk
trap 'rm -rf "$dir" "$disk"' EXIT
[ "$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 4000000 ] 2>/dev/null && dir=$(mktemp -d -p /dev/shm)

fail() {
    echo "$1"
    exit 1
}

# run OPTIONS...: what must succeed; of the engine at hand
run() {
    "$bench" run --engine "$engine" --seconds 0.015 --dir "$dir/$engine" "$@" || fail "$engine: a run of $* failed"
}

# wrong OPTIONS...: what must be noticed in the database that was left behind
wrong() {
    "$bench" run --engine "$engine" --seconds 0.015 --dir "$dir/$engine" --existing "$@"
    [ $? -eq 1 ] || fail "$engine: $* went unnoticed"
}

# refused OPTIONS...: what cannot be checked
refused() {
    "$bench" run --engine "$engine" --dir "$dir/$engine" "$@" && fail "$engine: $* was not refused"
    [ $? -eq 2 ] || fail "$engine: $* ended in something else than a refusal"
}

reads=readhit:2,readmiss,multiget:2,multigetmiss,seek50,seek50held,rscan50:2,scan:2,rscan:2,keyscan:2
ycsb=ycsba,ycsbb:2,ycsbc,ycsbd:3,ycsbe:3,ycsbf:3,ycsba:3,readwhilewriting:2

small_values() {
    run --keys 5000 --workload "fillrandom:2,settle,$reads,overwrite,reopen,readhit,seek50,cold,$reads"
    run --keys 5000 --workload "fillrandom,$ycsb,scan,rscan,kill,$reads,overwrite:2,cold,scan,ycsbe"
    run --keys 5000 --overwrite-part 3 --workload \
        "fillseq,overwrite,delete:2,tombscan:2,$reads,$ycsb,deleteprefix:2,tombseek,kill,$reads,tombscan,ycsbe,overwrite,scan"
    run --keys 1 --workload "fillseq,$reads,$ycsb,deleteprefix,tombseek,scan"
    run --keys 5000 --workload durable:2 --dir "$disk/$engine"
    for size in 5 16; do
        run --keys 5000 --value-size $size --workload "fillrandom:2,settle,overwrite,$ycsb,scan:2,kill,scan"
    done
}

noticed() {
    run --keys 5000 --workload fillseq --keep
    for workload in readhit multiget seek50 rscan50 scan rscan ycsba ycsbb ycsbc ycsbd:2 ycsbe ycsbf:2 \
        readwhilewriting kill delete,tombscan deleteprefix,tombseek; do
        cp -r "$dir/$engine/nokv-bench-$engine" "$dir/$engine/kept"
        wrong --keys 5000 --seed 2 --workload $workload
        rm -rf "$dir/$engine/nokv-bench-$engine"
        mv "$dir/$engine/kept" "$dir/$engine/nokv-bench-$engine"
    done
    for workload in readhit multiget rscan50 kill cold,readhit:2; do
        wrong --keys 1000000 --workload $workload
    done
    for workload in scan rscan keyscan kill; do
        wrong --keys 5001 --workload $workload
    done
    for workload in scan kill; do # there is more than there should be
        wrong --keys 4999 --workload $workload
    done
    run --keys 5000 --workload delete --existing
    for workload in multiget seek50 rscan50 scan rscan kill; do
        wrong --keys 5000 --workload $workload
    done
    for size in 5 100; do # newer versions
        run --keys 1000 --value-size $size --workload fillseq,overwrite --keep
        for workload in readhit multiget ycsbc:2 ycsbe kill; do
            wrong --keys 1000 --value-size $size --workload $workload
        done
    done
    refused --workload fillseq,tombscan
    refused --workload fillseq,delete,tombseek
    refused --workload durable,readhit
    refused --workload fillseq,kill,readhit,kill
    rm -rf "$dir/$engine"/nokv-bench-*
}

# More data than memory, read from the disk; or, where no limit can be set, a message that says why.
limited() {
    "$bench" run --engine "$engine" --seconds 0.05 --dir "$disk/$engine" --keys 40000 --value-size 1000 --json \
        --memory 8 --memory-limit 32M --workload fillrandom,settle,cold,readhit,readhit:16,seek50,multiget,readmiss \
        >"$dir/$engine.limited" 2>"$dir/$engine.errors"
    code=$?
    cat "$dir/$engine.errors"
    [ $code -eq 2 ] && grep -q "no memory limit can be set here: ." "$dir/$engine.errors" && return
    [ $code -eq 0 ] || fail "$engine: a run with a memory limit failed"
    python3 - "$dir/$engine.limited" <<'PYTHON' || fail "$engine: a run with a memory limit went otherwise"
import json, sys
results = [json.loads(line) for line in open(sys.argv[1])]
assert [r["workload"] for r in results][:3] == ["fillrandom", "settle", "cold"] and len(results) == 8, results
for r in results[:2]:
    assert r["memory_limit_bytes"] is None and r["memory_used_bytes"] is None, r
for r in results[2:]:
    assert r["memory_limit_bytes"] == 32 << 20 and r["memory_bytes"] == 8 << 20, r
    assert 0 < r["memory_used_bytes"] <= 32 << 20, r
    if r["workload"] in ("readhit", "seek50", "multiget") and r["machine"]["filesystem"] not in ("tmpfs", "ramfs"):
        assert r["device_read_bytes_per_op"] > 100 and r["ops"] > 0, r
PYTHON
}

large_values() {
    for size in "--keys 1000 --value-size 5000" "--keys 60 --value-size 65536" "--keys 10 --value-size 1048576" \
        "--keys 400 --value-size mixed"; do
        run $size --keep --workload \
            fillrandom,overwrite:2,settle,overwrite,readhit:2,multiget,keyscan,scan,rscan,reopen,readhit
        wrong $size --workload scan # expects the values of the fill
        run $size --workload fillrandom,ycsba:2,ycsbd:2,ycsbe,ycsbf:2,readwhilewriting,delete,tombscan,kill,scan,rscan
    done
}

engines=$("$bench" engines | awk '!/not built in/ { print $1 }')
for engine in $engines; do
    mkdir -p "$dir/$engine" "$disk/$engine"
    (small_values && noticed && large_values && limited && touch "$dir/$engine.passed") >"$dir/$engine.log" 2>&1 &
done
wait
for engine in $engines; do
    cat "$dir/$engine.log"
done
for engine in $engines; do
    [ -e "$dir/$engine.passed" ] || fail "$engine failed: $(tail -n 1 "$dir/$engine.log")"
done

"$bench" compare --engines "$(echo $engines | tr ' ' ,)" --seconds 0.05 --dir "$disk" --keys 2000 --value-size 5000 \
    --runs 1 --out "$dir/results" --workloads fillrandom,settle,overwrite,settle,overwrite,settle,scan >"$dir/tables" ||
    fail "a comparison failed"
cat "$dir/tables"
for row in "overwrite 2" "settle after overwrite 2" "scan after overwrite 2"; do
    grep -q "^| $row |" "$dir/tables" || fail "no row of $row"
done
# Whatever is live is on the disk: less than that is a figure that was not taken. (Bytes written are 0 on a tmpfs.)
for check in "space_amp 0.9" "space_amp_peak 0.9" "write_amp 0" "write_amp_blockdev 0" "mb_per_sec 0"; do
    sed -n "s/.*\"workload\":\"settle\".*\"${check% *}\":\([0-9.]*\).*/\1/p" "$dir/results" |
        awk -v min="${check#* }" '$1 < min { bad = 1 } END { exit bad || !NR }' ||
        fail "${check% *} is missing or too small"
done
"$bench" compare --engines "${engines%%[!a-z]*}" --seconds 0.05 --dir "$dir" --keys 400 --value-size mixed --runs 1 \
    --out "$dir/mixed" --workloads fillrandom,ycsbd,kill,readwhilewriting || fail "a comparison of mixed values failed"
for check in '"fillrandom".*"value_size":10364.*"value_sizes":"mixed"' '"ycsbd".*"inserted":[1-9].*"driver_bytes":[1-9]' \
    '"kill".*"found":[1-9]' '"readwhilewriting".*"background_ops":[1-9]'; do
    grep -q "$check" "$dir/mixed" || fail "no $check in the results"
done

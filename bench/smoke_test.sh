#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every engine that is built in answers every workload rightly on a small database, with values that stay in tables and
# values that are large enough to be kept apart from them, and the benchmark notices when what comes back is wrong
# (values of another seed; of an older version; keys that were never put). A comparison of the engines ends in tables.
# smoke_test.sh NOKV_BENCH
set -u
bench=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
small="--keys 20000 --seconds 0.05 --dir $dir"

fail() {
    echo "$1"
    exit 1
}

engines=$("$bench" engines | awk '!/not built in/ { print $1 }')
for engine in $engines; do
    "$bench" run --engine "$engine" $small --workload \
        fillrandom:2,settle,readhit:2,readmiss,seek50,seek50held,scan:2,keyscan:2,overwrite,reopen,readhit,seek50 ||
        fail "$engine: a run failed"
    "$bench" run --engine "$engine" $small --workload durable:2 || fail "$engine: durable puts failed"
    "$bench" run --engine "$engine" $small --workload fillseq --keep || fail "$engine: fillseq failed"
    for wrong in "readhit --seed 2" "seek50 --seed 2" "readhit --keys 40000" "scan --keys 20001" "keyscan --keys 20001"; do
        "$bench" run --engine "$engine" $small --existing --workload $wrong
        [ $? -eq 1 ] || fail "$engine: $wrong went unnoticed"
    done
    rm -rf "$dir"/nokv-bench-*

    for size in "--keys 2000 --value-size 5000" "--keys 150 --value-size 65536" "--keys 30 --value-size 1048576"; do
        "$bench" run --engine "$engine" $small $size --keep --workload \
            fillrandom,settle,overwrite:2,settle,overwrite,settle,readhit:2,keyscan,scan,reopen,readhit ||
            fail "$engine: a run with $size failed"
        "$bench" run --engine "$engine" $small $size --existing --workload scan # expects the values of the fill
        [ $? -eq 1 ] || fail "$engine: newer values went unnoticed with $size"
        rm -rf "$dir"/nokv-bench-*
    done
done

"$bench" compare --engines "$(echo $engines | tr ' ' ,)" $small --keys 2000 --value-size 5000 --runs 1 \
    --out "$dir/results" --workloads fillrandom,settle,overwrite,settle,overwrite,settle,scan >"$dir/tables" ||
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

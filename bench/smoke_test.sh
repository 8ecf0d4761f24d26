#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every engine that is built in answers every workload rightly on a small database, and the benchmark notices when what
# comes back is wrong (values of another seed; keys that were never put). smoke_test.sh NOKV_BENCH
set -u
bench=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
small="--keys 20000 --seconds 0.05 --dir $dir"

fail() {
    echo "$1"
    exit 1
}

for engine in $("$bench" engines | awk '!/not built in/ { print $1 }'); do
    "$bench" run --engine "$engine" $small --workload \
        fillrandom:2,settle,readhit:2,readmiss,seek50,seek50held,readseq:2,overwrite,reopen,readhit,seek50 ||
        fail "$engine: a run failed"
    "$bench" run --engine "$engine" $small --workload durable:2 || fail "$engine: durable puts failed"
    "$bench" run --engine "$engine" $small --workload fillseq --keep || fail "$engine: fillseq failed"
    for wrong in "readhit --seed 2" "seek50 --seed 2" "readhit --keys 40000" "readseq --keys 20001"; do
        "$bench" run --engine "$engine" $small --existing --workload $wrong
        [ $? -eq 1 ] || fail "$engine: $wrong went unnoticed"
    done
    rm -rf "$dir"/nokv-bench-*
done

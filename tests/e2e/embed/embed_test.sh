#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# embed_test.sh ROOT BUILD CC CXX - installs libnokv into a new directory and uses it from there.
#
# Shows that the example in README.md is at most 30 lines, compiles without a warning with the flags of pkg-config, as C
# and as C++, shared and static, and through find_package; and that it prints what it should, run twice on one database.
set -euo pipefail
root=$1 build=$2 cc=$3 cxx=$4
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

cmake --install "$build" --prefix "$scratch/usr" >install.log || { cat install.log; exit 1; }
PKG_CONFIG_PATH=$(dirname "$(find "$scratch/usr" -name nokv.pc)")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir nokv)

awk '/^<!-- example/ { inside = 1; next } /^<!-- end of the example/ { inside = 0 } inside && !/^```/' \
    "$root/README.md" >example.c
cp example.c example.cc
lines=$(wc -l <example.c)
if [[ $lines -eq 0 || $lines -gt 30 ]]; then
    echo "the example in README.md has $lines lines; 1 to 30 are wanted"
    exit 1
fi
printf 'an apple is green\nkey apple\nkey plum\n' >expected

runs=0
expect() { # program: run twice on one new database
    rm -rf fruit.db
    for _ in 1 2; do
        LD_LIBRARY_PATH=$libdir "$@" >output
        diff expected output
        runs=$((runs + 1))
    done
}

warnings=(-Wall -Wextra -Werror)
read -ra cflags < <(pkg-config --cflags nokv)
read -ra shared < <(pkg-config --libs nokv)
read -ra static < <(pkg-config --libs --static nokv)
# All of libnokv from the archive, the rest as usual.
static=("${static[@]/#-lnokv/-l:libnokv.a}")

"$cc" -std=c11 "${warnings[@]}" "${cflags[@]}" example.c -o c_shared "${shared[@]}"
expect ./c_shared
"$cc" -std=c11 "${warnings[@]}" "${cflags[@]}" example.c -o c_static "${static[@]}"
expect ./c_static
if command -v "$cxx" >/dev/null; then
    "$cxx" -std=c++11 "${warnings[@]}" "${cflags[@]}" example.cc -o cxx_shared "${shared[@]}"
    expect ./cxx_shared
fi

cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.20)
project(example LANGUAGES C)
find_package(nokv 0.1 REQUIRED)
add_executable(by_shared example.c)
target_link_libraries(by_shared nokv::nokv_shared)
add_executable(by_static example.c)
target_link_libraries(by_static nokv::nokv_static)
END
{ cmake -G Ninja -B by-cmake -DCMAKE_PREFIX_PATH="$scratch/usr" -DCMAKE_C_COMPILER="$cc" && ninja -C by-cmake; } >cmake.log ||
    { cat cmake.log; exit 1; }
expect by-cmake/by_shared
expect by-cmake/by_static
echo "embed: $lines lines, $runs runs as expected"

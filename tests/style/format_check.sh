#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# format_check.sh ROOT - the C files are laid out as ./dev fmt would lay them out, and the shell scripts parse.
set -euo pipefail
cd "$1"
command -v clang-format-14 >/dev/null || { echo "clang-format-14 is missing (./dev deps test)"; exit 1; }
mapfile -t files < <({ git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard -- '*.c' '*.h' 2>/dev/null ||
    find . -path './build*' -prune -o -type f -name '*.[ch]' -print; } | sort -u |
    while read -r file; do [[ ! -f $file ]] || echo "$file"; done) # one that is deleted is not there to check

report=$(clang-format-14 --dry-run --Werror "${files[@]}" 2>&1 || true)
mapfile -t differ < <(sed -n 's/^\([^: ]*\.[ch]\):[0-9]*:[0-9]*: error: .*/\1/p' <<<"$report" | sort -u)
[[ ${#differ[@]} -eq 0 ]] || printf '%s: ./dev fmt would change it\n' "${differ[@]}"
failed=${#differ[@]}
for script in dev .ci/run $(find tests tools bench -name '*.sh' 2>/dev/null); do
    bash -n "$script" || failed=$((failed + 1))
done
echo "format: ${#files[@]} files, $failed differ"
[[ $failed -eq 0 && ${#files[@]} -gt 0 ]]

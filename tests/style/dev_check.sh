#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# dev_check.sh ROOT - every verb that ./dev knows is in ./dev help and explains itself; unknown ones are refused.
set -euo pipefail
cd "$1"
failed=0 count=0
complain() {
    echo "dev: $*"
    failed=1
}

overview=$(./dev help)
for verb in $(sed -n '/^    case \$verb in$/,/^    esac$/s/^    \([a-z |-]*\)) .*/\1/p' dev | tr '|' '\n' | grep -v -e '^ *-' | xargs); do
    count=$((count + 1))
    [[ $verb == help ]] || grep -qE "^  ([a-z]+, )*$verb\b" <<<"$overview" || complain "'$verb' is not in ./dev help"
    text=$(./dev help "$verb") && [[ $text == *"./dev $verb"* ]] || complain "./dev help $verb does not explain it"
    [[ $verb == bench || $(./dev "$verb" --help) == "$text" ]] || complain "./dev $verb --help differs from ./dev help $verb"
done
! ./dev nonsense 2>/dev/null || complain "an unknown verb is accepted"
echo "dev: $count verbs"
[[ $failed -eq 0 && $count -ge 14 ]]

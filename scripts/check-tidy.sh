#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# clang-tidy, with the checks of .clang-tidy, over the library: scripts/check-tidy.sh [BUILD_DIRECTORY], which has
# to be a build by clang, so that the flags are ones it knows.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:-build/clang}
mapfile -t files < <(find lib -name '*.c' | sort)
[ ${#files[@]} -gt 0 ] || { echo "no file found: this check is broken" >&2; exit 1; }
# Its count of suppressed warnings goes to standard error, and says nothing unless clang-tidy fails.
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy -p "$build" --quiet 2>"$log" ||
  { grep -vE 'warnings? generated' "$log" | tail -20 >&2 || true; exit 1; }
echo "${#files[@]} files checked"

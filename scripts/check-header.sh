#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The public header compiles alone, twice in a row, and with its initialisers in use, as C11 and as C++17
# with both compilers and all warnings.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

{
  echo '#include <coupon/coupon.h>'
  echo '#include <coupon/coupon.h>'
  # One variable per ..._INIT macro, of the struct whose size it begins with.
  sed -nE 's/^#define (COUPON_[A-Z_]+_INIT)\b.*/\1/p' include/coupon/coupon.h | while read -r macro; do
    type=$(tr '[:upper:]' '[:lower:]' <<<"${macro%_INIT}")
    echo "struct $type a_$type = $macro;"
  done
} >"$work/user.c"
cp "$work/user.c" "$work/user.cc"
[ "$(grep -c _INIT "$work/user.c")" -gt 0 ] || { echo "no initialiser found: this check is broken" >&2; exit 1; }

warnings=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
count=0
check() {
  "$@" "${warnings[@]}" -Iinclude -fsyntax-only
  count=$((count + 1))
}
for cc in gcc clang; do check $cc -std=c11 "$work/user.c"; done
for cxx in g++ clang++; do check $cxx -std=c++17 "$work/user.cc"; done
echo "$count compilations checked"

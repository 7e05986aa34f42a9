#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The functions of the header, those of the symbol map and those the shared library exports are the same:
# scripts/check-symbols.sh [BUILD_DIRECTORY]. In the static library every global name has our prefix.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:-build/release}
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# Preprocessed, so that neither comments nor macros look like declarations.
"${CC:-gcc}" -std=c11 -E -P include/coupon/coupon.h | grep -oE '\bcoupon_[a-z0-9_]+[[:space:]]*\(' |
  tr -d ' (' | sort -u >"$work/header"
awk '/global:/ {inside = 1; next} /local:/ {inside = 0} inside' lib/libcoupon.map | grep -oE '\bcoupon_[a-z0-9_]+' |
  sort -u >"$work/map"
# With the version, but without the symbol that stands for the version itself (type A).
nm -D --defined-only "$build/lib/libcoupon.so" | awk '$2 != "A" {print $3}' | sort -u >"$work/exported"
sed 's/$/@@LIBCOUPON_0.1/' "$work/header" >"$work/expected"

status=0
[ -s "$work/header" ] || { echo "no function found in the header: this check is broken" >&2; exit 1; }
diff -u --label header --label 'symbol map' "$work/header" "$work/map" || status=1
diff -u --label header --label 'shared library' "$work/expected" "$work/exported" || status=1

nm -g --defined-only "$build/lib/libcoupon.a" 2>/dev/null | awk 'NF == 3 {print $3}' |
  grep -vE '^(coupon|cpn)_' >"$work/strangers" || true
if [ -s "$work/strangers" ]; then
  echo "names without our prefix in the static library:" >&2
  cat "$work/strangers" >&2
  status=1
fi
[ $status = 0 ] || exit 1
echo "$(wc -l <"$work/header") functions checked"

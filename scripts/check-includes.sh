#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Includes go downwards: checks every #include "…" of the tree against the floors it may reach. Direct
# includes suffice, because the rule holds for each file on the way.
set -euo pipefail
cd "$(dirname "$0")/.."

# The folders whose headers the files of a folder may include, besides the public one and the system's.
floors_below() {
  case $1 in
    lib/base/*) echo base ;;
    lib/issue/*) echo base issue ;; # the memory wing and the disk wing never meet …
    lib/log/*) echo base log ;;
    lib/engine/*) echo base issue log engine ;; # … but here
    lib/door/*) echo base engine door ;;
    *) return 1 ;;
  esac
}

bad=0
complain() { echo "$1: $2" >&2; bad=$((bad + 1)); }

count=0
while IFS=: read -r file line include; do
  count=$((count + 1))
  name=${include#*[\"<]}
  name=${name%%[\">]*}
  case $file:$include in
    include/*) # the only door: nothing but the standard's headers, and nothing that a package brings
      case $name in stddef.h | stdint.h) ;; *) complain "$file:$line" "a public header includes $name" ;; esac ;;
    lib/*:*\"coupon/coupon.h\"*) ;;
    lib/*:*\"*)
      floor=${name%%/*}
      [[ " $(floors_below "$file") " == *" $floor "* ]] || complain "$file:$line" "may not include $name" ;;
    tools/*:*\"coupon/coupon.h\"* | examples/*:*\"coupon/coupon.h\"*) ;;
    tools/*:*\"* | examples/*:*\"*) # users of the library see its header only
      case $name in */*) complain "$file:$line" "may not include $name" ;; esac ;;
  esac
done < <(grep -rnHE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' include lib tools examples)

# What the public header drags in after all, as the compiler sees it.
if "${CC:-gcc}" -std=c11 -Iinclude -M include/coupon/coupon.h | grep -E 'urcu|/ck_|xxhash'; then
  complain include/coupon/coupon.h "reaches a header of a package"
fi

[ "$count" -gt 0 ] || { echo "no #include found: this check is broken" >&2; exit 1; }
[ "$bad" = 0 ] || exit 1
echo "$count includes checked"

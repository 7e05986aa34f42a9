#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# verify, dump, status, tickets and checkpoint on a directory with checkpoints, an archive, and campaigns that were
# released and dropped (make_directory.c): tests/tools/verify.sh COUPON MAKE_DIRECTORY FORGE
set -euo pipefail
# shellcheck source=tests/tools/answers.sh
. "${0%/*}/answers.sh"
coupon=$1 make=$2 forge=$3

# counts N PATTERN: so many lines of `dumped` match.
counts() {
  local found
  found=$(grep -c -- "$2" dumped || true)
  [ "$found" = "$1" ] || fail "$found records, not $1, match $2"
}
# spoil FILE OFFSET: another byte is there than before.
spoil() {
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
  # shellcheck disable=SC2059 # an escape of our own making
  printf "\\$(printf %o $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
fresh() {
  rm -rf spoilt
  cp -r shop spoilt
}

"$make" shop archive
if [ ! -f archive/0000000000000001.log ] || [ -e shop/0000000000000001.log ]; then fail "no segment was archived"; fi
[ -f shop/0000000000000001.tickets ] || fail "there is no tickets file"
[ ! -e shop/0000000000000002.tickets ] || fail "dropped tickets are still there"
newest=$(find shop -name '*.checkpoint' | sort | tail -1)
older=$(find shop -name '*.checkpoint' | sort | head -1)

# Behind a checkpoint, and from the first record on, the same comes out.
answers 0 'compared   1 checkpoint: as the log has it' "$coupon" verify shop
grep -q '^ok: .* 4300 tickets' said || fail "$(tail -1 said)"
grep -q "^begins     behind checkpoint" said || fail 'the log is not read from a checkpoint on'
answers 0 'compared   2 checkpoints: as the log has it' "$coupon" verify shop --archive archive
grep -q '^ok: .* 4300 tickets' said || fail "$(tail -1 said)"
answers 0 '"compared":2' "$coupon" verify shop --archive archive --json

"$coupon" dump shop >dumped
counts 1 ' checkpoint 0 0 DROPPED index=2 campaign=3 tickets=700$'
counts 500 ' ISSUE_UUID index=1 '
counts 3100 ' ISSUE '
counts 5 ' CAMPAIGN '
"$coupon" dump shop --archive archive >dumped
counts 0 ' checkpoint '
counts 500 ' ISSUE_UUID index=1 '
counts 3800 ' ISSUE '
counts 700 ' ISSUE index=2 campaign=3 '
grep ' ISSUE_UUID ' dumped | sed 's/.* number=/number=/' >from_log
"$coupon" dump shop | grep ' ISSUE_UUID ' | sed 's/.* number=/number=/' | cmp - from_log ||
  fail 'tickets file and log differ'

answers 0 'checkpoint   ' "$coupon" status shop
answers 0 'tickets    released' "$coupon" status shop 2
answers 0 'tickets    dropped' "$coupon" status shop 3
answers 0 '"place":"memory"' "$coupon" status shop 1 --json
[ "$("$coupon" tickets shop 2 | wc -l)" = 501 ] || fail 'tickets of a released campaign'
uuid=$("$coupon" tickets shop 2 | awk 'NR == 400 { print $1 }')
answers 0 'number   399' "$coupon" lookup shop 2 "$uuid"
answers 4 'dropped' "$coupon" tickets shop 3

# What is wrong is found, where it is.
fresh && spoil spoilt/0000000000000001.tickets 700
answers 3 'damaged: 0000000000000001.tickets at 512: ' "$coupon" verify spoilt
fresh && spoil spoilt/0000000000000001.tickets 48
answers 3 'the first block of a tickets file is damaged' "$coupon" verify spoilt
fresh && rm spoilt/0000000000000001.tickets
answers 3 'the tickets file of a released campaign is missing' "$coupon" verify spoilt
fresh && spoil "spoilt/${older##*/}" 700
answers 0 'damaged    checkpoint' "$coupon" verify spoilt
fresh && spoil "spoilt/${older##*/}" 700 && spoil "spoilt/${newest##*/}" 700
answers 3 'damaged: ' "$coupon" verify spoilt
answers 3 'damaged: ' "$coupon" verify spoilt --archive archive
fresh && "$forge" "spoilt/${newest##*/}"
answers 3 "damaged: ${newest##*/} at 0: it says of campaign 1 other tickets than the log" "$coupon" verify spoilt
fresh && "$forge" "spoilt/${older##*/}"
answers 3 "damaged: ${older##*/} at 0: it says of campaign 1 other tickets than the log" \
  "$coupon" verify spoilt --archive archive
mkdir gap && cp archive/* gap && rm gap/0000000000000002.log
answers 3 '0000000000000002.log at 0: the segment is missing' "$coupon" verify shop --archive gap
rm gap/0000000000000001.log
answers 3 'the first segment is missing' "$coupon" verify shop --archive gap
answers 4 'its archive cannot be opened' "$coupon" verify shop --archive nowhere
spoil archive/0000000000000002.log 3000
answers 3 'damaged: 0000000000000002.log at ' "$coupon" verify shop --archive archive
spoil archive/0000000000000002.log 3000

# A checkpoint by hand: the archive goes on, and all is as before.
answers 0 'segments' "$coupon" checkpoint shop --archive archive
answers 0 '"checkpoint_lsn":' "$coupon" checkpoint shop --archive archive --json
answers 0 'issued' "$coupon" issue shop 1 777777 --archive archive --checkpoint-log-bytes 65536
answers 0 '4301 tickets' "$coupon" verify shop --archive archive
grep -q 'compared   2 checkpoints' said || fail 'checkpoints were not compared'
answers 4 'cannot open nowhere' "$coupon" checkpoint nowhere
echo 'all is as it should be'

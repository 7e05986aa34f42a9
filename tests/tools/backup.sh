#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `coupon backup` of directories that nobody has open, and where it cannot succeed:
# tests/tools/backup.sh COUPON MAKE_DIRECTORY
set -euo pipefail
# shellcheck source=tests/tools/answers.sh
. "${0%/*}/answers.sh"
coupon=$1 make=$2

nothing_left() { [ -z "$(find . -maxdepth 1 -name 'copy*')" ] || fail "$1 leaves something behind: $(ls -d copy*)"; }

"$make" shop archive
"$coupon" dump shop >of_shop
before=$(find shop -type f -exec cksum {} + | sort)

# A closed directory: the same, and nobody else's business.
(umask 777 && answers 0 'ok: ' "$coupon" backup shop/ copy/)
[ "$(find copy -type f ! -perm 600 | wc -l)" = 0 ] || fail 'a file of the copy has another mode than 0600'
[ "$(stat -c %a copy)" = 700 ] || fail 'the copy has another mode than 0700'
if [ -e copy/lock ] || [ -e copy/owner ]; then fail 'the copy has a lock or an owner'; fi
"$coupon" dump copy | cmp - of_shop || fail 'the copy says other than what was copied'
answers 0 'compared   2 checkpoints' "$coupon" verify copy --archive archive
[ "$("$coupon" tickets copy 2 | wc -l)" = 501 ] || fail 'tickets of a released campaign'
answers 0 'issued' "$coupon" issue copy 1 4000
answers 0 '"lsn":' "$coupon" backup copy copy.copy --json
answers 0 '4301 tickets' "$coupon" verify copy.copy
rm -rf copy copy.copy

# One of which the owner was killed, with a torn tail.
"$coupon" sale --dir killed --stock 2500 --users 2500 --threads 4 --segment-size 65536 \
  --checkpoint-log-bytes 200000 --ack-file acks >/dev/null 2>&1 &
sale=$!
for ((i = 0; i < 300; i++)); do [ "$(wc -l <acks 2>/dev/null || echo 0)" -lt 1000 ] || break; sleep 0.02; done
kill -KILL $sale 2>/dev/null || true # it may have been quick
wait $sale 2>/dev/null || true
last=$(find killed -name '*.log' | sort | tail -1)
answers 0 'ok: ' "$coupon" backup killed copy
cmp "$last" "copy/${last##*/}" || fail 'the log of a killed owner is not copied as it is'
answers 0 'ok: ' "$coupon" verify copy
"$coupon" sale --check --dir copy --ack-file acks --stock 2500 --users 2500 --threads 4 >said ||
  { cat said >&2; fail 'the copy lacks what was acknowledged'; }
rm -rf copy

# Where there is something already, whatever it is; and where nothing can be.
mkdir copy
answers 4 'copy exists' "$coupon" backup shop copy
rmdir copy
ln -s nowhere copy
answers 4 'copy exists' "$coupon" backup shop copy
rm copy
answers 4 'cannot make a directory beside' "$coupon" backup shop nowhere/copy
answers 4 'nowhere cannot be opened' "$coupon" backup nowhere copy
mkdir empty
answers 4 'there is no manifest' "$coupon" backup empty copy
answers 2 'more argument' "$coupon" backup shop
nothing_left 'a backup that was refused'

# No space.
for limit in 1 8 12; do
  answers 4 'cannot be written' bash -c "ulimit -f $limit; exec \"\$@\"" - "$coupon" backup shop copy
  nothing_left 'a backup without space'
done

# A damaged directory has no backup.
cp -r shop spoilt
printf 'X' | dd of=spoilt/0000000000000001.tickets bs=1 seek=800 conv=notrunc status=none
answers 3 'the copy is no good, and is removed' "$coupon" backup spoilt copy
printf 'X' | dd of=spoilt/manifest bs=1 seek=20 conv=notrunc status=none
answers 3 'the manifest is damaged' "$coupon" backup spoilt copy
nothing_left 'a backup of a damaged directory'

# Interrupted at any moment: nothing is left, or a whole copy. Killed: never half a copy under the name.
"$coupon" sale --dir large --stock 30000 --users 30000 --threads 8 --durability written >/dev/null
for delay in 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.15 0.2 0.3; do
  for signal in TERM KILL; do
    "$coupon" backup large copy >/dev/null 2>&1 &
    backup=$!
    sleep $delay
    kill -$signal $backup 2>/dev/null || true
    wait $backup 2>/dev/null || true
    [ ! -e copy ] || answers 0 '30000 tickets' "$coupon" verify copy
    rm -rf copy
    # A signal that comes before it is minded ends the process, which has made nothing then.
    [ $signal = KILL ] || nothing_left 'an interrupted backup'
    rm -rf copy.partial-*
  done
done
[ "$before" = "$(find shop -type f -exec cksum {} + | sort)" ] || fail 'a backup changes what it copies'
echo 'all is as it should be'

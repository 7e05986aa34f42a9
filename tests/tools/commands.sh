#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What whoever meets the command for the first time tries: its help, which says what the manual page and the JSON say; wrong
# command lines; and directories that are missing, somebody else's, or in use: tests/tools/commands.sh COUPON MANUAL
set -euo pipefail
# shellcheck source=tests/tools/answers.sh
. "${0%/*}/answers.sh"
coupon=$1 manual=$2
commands=(create issue lookup status tickets verify dump checkpoint backup sale)

# --- help ----------------------------------------------------------------------------------------

answers 0 'Usage: coupon COMMAND' "$coupon" --help
cp said all
for command in "${commands[@]}"; do
  grep -q "^  $command " said || fail "coupon --help does not name $command"
done
for command in "${commands[@]}"; do
  # Also behind a directory that is not there, and without making it.
  answers 0 "Usage: coupon $command " "$coupon" "$command" nowhere --help
  answers 0 "Usage: coupon $command " "$coupon" "$command" --help
  cat said >>all
done
if grep -nE '.{81,}' all; then fail 'a page of help is too wide'; fi
# Without roff's fonts and escapes.
sed -E 's/\\f[BIPR]//g; s/\\//g' "$manual" >page
options_of() { grep -oE -- '--[a-z][a-z-]+' "$1" | sort -u; }
diff <(options_of all) <(options_of page) >&2 || fail 'the help and the manual page have other options'
[ ! -e nowhere ] || fail 'asking for help made a directory'

# --- wrong command lines -------------------------------------------------------------------------

answers 2 'no command given' "$coupon"
answers 2 "there is no command 'sell'" "$coupon" sell
for command in "${commands[@]}"; do
  answers 2 "see coupon $command --help" "$coupon" "$command" --colour
  answers 2 "see coupon $command --help" "$coupon" "$command" --json=yes
  answers 2 "see coupon $command --help" "$coupon" "$command"
done
answers 2 'ID must be a number' "$coupon" create shop summer --stock 1
answers 2 '--stock must be at most' "$coupon" create shop 1 --stock 1099511627777
answers 2 'one argument too many' "$coupon" create shop 1 2 --stock 1
[ ! -e shop ] || fail 'a wrong command line made a directory'

# --- what JSON has, the help names ---------------------------------------------------------------

# says KEYS_OF COMMAND...: each key of its JSON stands in the help of that command.
says() {
  local command=$1
  shift
  "$coupon" "$command" "$@" --json >object || fail "coupon $command $* failed"
  "$coupon" "$command" --help >help
  for key in $(jq -r '.. | objects | keys_unsorted[]' object | sort -u); do
    grep -qw -- "$key" help || fail "the help of $command lacks the key $key"
  done
}
says create shop 1 --stock 3
says issue shop 1 1001 1002
says lookup shop 1 1001
says status shop
says status shop 1
says tickets shop 1
says checkpoint shop
says backup shop copy
says verify shop
says sale --stock 2 --users 3
"$coupon" dump shop --json >records
[ "$(jq -s length records)" = "$(wc -l <records)" ] || fail 'dump prints other than an object a line'

# --- answers that are no -------------------------------------------------------------------------

answers 1 'sold_out' "$coupon" issue shop 1 1003 1004
answers 1 'no_campaign' "$coupon" issue shop 2 1001
answers 1 'not_found' "$coupon" lookup shop 1 7
answers 1 'there is no campaign 2' "$coupon" lookup shop 2 1001
answers 1 'there is no campaign 2' "$coupon" status shop 2
answers 1 'there is no campaign 2' "$coupon" tickets shop 2
answers 1 'another description' "$coupon" create shop 1 --stock 4

# --- directories ---------------------------------------------------------------------------------

mkdir empty
echo 'of somebody else' >empty/letter
for directory in missing empty; do
  for arguments in 'issue % 1 5' 'lookup % 1 5' 'status %' 'tickets % 1' 'verify %' 'dump %' 'checkpoint %' \
    'backup % other' 'sale --stock 1 --users 1 --resume --dir %' \
    'sale --stock 1 --users 1 --check --ack-file /dev/null --dir %'; do
    # The words are meant to be split.
    # shellcheck disable=SC2086
    answers 4 "$directory" "$coupon" ${arguments/\%/$directory}
  done
done
[ ! -e missing ] || fail 'a directory that was missing is there'
[ "$(ls -A empty)" = letter ] || fail "in somebody else's directory there is now: $(ls -A empty)"
if compgen -G 'other*' >found; then fail "a backup of nothing left $(cat found)"; fi
answers 4 'nowhere/shop' "$coupon" create nowhere/shop 1 --stock 3
answers 4 'Not a directory' "$coupon" create page 1 --stock 3

# An owner who waits for a line; those who read work beside it, and what is said names them.
mkfifo users
"$coupon" issue shop 1 - <users >/dev/null 2>&1 &
owner=$!
exec 9>users
until "$coupon" verify shop | grep -q 'has it open'; do sleep 0.05; done
for arguments in 'create shop 9 --stock 1' 'issue shop 1 5' 'checkpoint shop' 'sale --stock 1 --users 1 --dir shop'; do
  # shellcheck disable=SC2086
  answers 4 'lookup, status, tickets, verify, dump and backup work beside it' "$coupon" $arguments
done
answers 0 'number   1' "$coupon" lookup shop 1 1001
for arguments in 'status shop' 'tickets shop 1' 'verify shop' 'dump shop' 'backup shop beside'; do
  # shellcheck disable=SC2086
  answers 0 '' "$coupon" $arguments
done
exec 9>&-
wait "$owner" || fail 'the owner did not end well'

# --- output that goes nowhere --------------------------------------------------------------------

for arguments in '--help' 'status shop' 'tickets shop 1' 'verify shop' 'dump shop' 'issue shop 1 1001'; do
  status=0
  # shellcheck disable=SC2086
  "$coupon" $arguments >/dev/full 2>said || status=$?
  [ $status = 4 ] || fail "$arguments to a full device ended with $status"
done

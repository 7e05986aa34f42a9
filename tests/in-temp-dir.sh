#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs a command in a new temporary directory, which is also its TMPDIR, and removes the directory however the
# command ends: tests/in-temp-dir.sh COMMAND [ARG ...]. An argument @TMP@ becomes the directory's path. After
# $COUPON_TEST_SECONDS seconds (120 without) the command counts as stuck, and is killed with all it has started.
set -euo pipefail

directory=$(mktemp -d "${TMPDIR:-/tmp}/coupon-test.XXXXXX")
child=''
# shellcheck disable=SC2317 # called by the trap
clean_up() {
  # timeout(1) hands the signal on to all that the command has started.
  [ -z "$child" ] || kill "$child" 2>/dev/null || true
  rm -rf -- "$directory"
}
trap clean_up EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

arguments=()
for argument in "$@"; do arguments+=("${argument//@TMP@/$directory}"); done
cd "$directory"
seconds=${COUPON_TEST_SECONDS:-120}
status=0
# In the background, because the shell acts on a signal only while it waits.
TMPDIR=$directory timeout --kill-after=5 "$seconds" "${arguments[@]}" &
child=$!
wait "$child" || status=$?
# What the command started and left behind shares timeout's process group; it must not outlive the directory.
kill -KILL -- "-$child" 2>/dev/null || true
child=''
if [ $status = 124 ] || [ $status = 137 ]; then echo "killed; a test may take $seconds s" >&2; fi
exit $status

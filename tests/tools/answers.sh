# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the tests of the command have in common; for them to source.

fail() {
  echo "FINDING: $*" >&2
  exit 1
}
# answers CODE TEXT COMMAND...: the command ends with that code, and prints that.
answers() {
  local code=$1 text=$2 status=0
  shift 2
  "$@" >said 2>&1 || status=$?
  [ "$status" = "$code" ] || { cat said >&2; fail "$* ended with $status, not $code"; }
  grep -qF -- "$text" said || { cat said >&2; fail "$* does not say: $text"; }
}

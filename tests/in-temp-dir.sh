#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs a command in a new temporary directory, which is also its TMPDIR, and removes the directory
# however the command ends: tests/in-temp-dir.sh COMMAND [ARG ...]. An argument @TMP@ becomes its path.
set -euo pipefail

directory=$(mktemp -d "${TMPDIR:-/tmp}/coupon-test.XXXXXX")
trap 'rm -rf -- "$directory"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

arguments=()
for argument in "$@"; do arguments+=("${argument//@TMP@/$directory}"); done
cd "$directory"
TMPDIR=$directory "${arguments[@]}"

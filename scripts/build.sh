#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Configures and builds a preset: scripts/build.sh PRESET. Says little unless something goes wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:?usage: scripts/build.sh PRESET}
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
started=$SECONDS
cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
cmake --build --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
echo "build: preset $preset, $((SECONDS - started)) s"

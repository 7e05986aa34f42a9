#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# How fast, beside what is possible, in one run: scripts/perf.sh [USERS] [THREADS]. Status 0 unless a check fails.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/bootstrap.sh base
scripts/build.sh release >&2
work=$(mktemp -d "${TMPDIR:-/tmp}/coupon-perf.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
build/release/perf/perf_issue --users "${1:-1000000}" --threads "${2:-2}" --dir "$work/log"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the preset `release` and runs its tests: scripts/test.sh. Installs missing packages first. The last
# lines are the test runner's own; the exit status is 0 only if every test passed.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/bootstrap.sh base
scripts/build.sh release
exec ctest --preset release --parallel "$(nproc)"

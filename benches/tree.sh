#!/usr/bin/env bash
# A tree of nodes on loopback, at full size: one national node, two second-level ones, four enterprises, two recursive ones, a mirror, an
# edge node; every identifier resolves from each recursive node over gRPC and DNS, then one thing after the other fails under load, and
# what clients see is printed. Then what walks, warm answers and mirrors cost.
#
#   IDENTIFIERS=100000     how many identifiers are spread over the tree: those of ../shared/data when it is there, made up otherwise
#   QUESTIONS=200000       how many questions a round of the cost has
#   ROUNDS=5               how many rounds
set -euo pipefail
cd "$(dirname "$0")/.."
identifiers=${IDENTIFIERS:-100000}

echo "== the test bed, $identifiers identifiers, release build"
TOUCHMARK_TREE_IDENTIFIERS=$identifiers cargo test --release --locked --test it tree:: -- --nocapture --test-threads 1

echo "== walks beside hops, warm answers beside authoritative ones, questions upstream"
cargo bench --locked --bench load -- tree --records "$identifiers" --questions "${QUESTIONS:-200000}" --rounds "${ROUNDS:-5}"

echo "== how far a mirror is behind at 5,000 registrations a second"
cargo bench --locked --bench load -- mirror

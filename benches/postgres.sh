#!/usr/bin/env bash
# Loads the records of `cargo bench --bench load -- import` into PostgreSQL, for comparison: COPY, inserts of 1,000 rows,
# and single-row commits from 64 clients. No ledger, no proofs, one index (the primary key); synchronous_commit is on.
#
# usage: benches/postgres.sh [RECORDS]      Debian packages needed: postgresql-15
set -euo pipefail

records=${1:-1000000}
bin=/usr/lib/postgresql/15/bin
[ -x "$bin/initdb" ] || { echo "needs the Debian package postgresql-15" >&2; exit 1; }
cd "$(dirname "$0")/.."
work=$(mktemp -d)
as() { if [ "$(id -u)" = 0 ]; then runuser -u nobody -- "$@"; else "$@"; fi; }
trap 'as "$bin/pg_ctl" -D "$work/db" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

cargo bench --quiet --bench load -- records --records "$records" > "$work/records.jsonl"
# One tab-separated row a record for COPY, and statements of 1,000 rows for inserts.
sed -E 's/^\{"identifier":"([^"]*)","values":(.*)\}$/\1\t\2/' "$work/records.jsonl" > "$work/rows.tsv"
awk -F'\t' -v q="'" 'BEGIN { n = 0 }
  { printf "%s(%s%s%s,%s%s%s)", (n % 1000 ? "," : "INSERT INTO record VALUES "), q, $1, q, q, $2, q; n++ }
  n % 1000 == 0 { print ";" } END { if (n % 1000) print ";" }' "$work/rows.tsv" > "$work/inserts.sql"
chmod -R a+rX "$work" && chmod a+rwx "$work"

as "$bin/initdb" -D "$work/db" -A trust -U bench >/dev/null
as "$bin/pg_ctl" -D "$work/db" -w -l "$work/log" \
  -o "-c listen_addresses='' -c unix_socket_directories=$work -c shared_buffers=512MB -c max_wal_size=4GB -c max_connections=100" start >/dev/null
sql() { "$bin/psql" -q -h "$work" -U bench -d postgres "$@"; }
cpu() { cat /proc/$(head -1 "$work/db/postmaster.pid")/stat /proc/[0-9]*/stat 2>/dev/null | awk '$2 == "(postgres)" { t += $14 + $15 + $16 + $17 } END { print t }'; }
timed() {
  local name=$1 rows=$2 start end; shift 2
  start=$(date +%s.%N); "$@" >/dev/null; end=$(date +%s.%N)
  awk -v n="$name" -v r="$rows" -v s="$start" -v e="$end" 'BEGIN { printf "%-28s %10.0f rows/s\n", n, r / (e - s) }'
}
create='DROP TABLE IF EXISTS record; CREATE TABLE record (identifier text PRIMARY KEY, record text NOT NULL)'

echo "# PostgreSQL 15, $records rows, keys in random order"
sql -c "$create"
timed "COPY" "$records" sql -c "\\copy record FROM '$work/rows.tsv'"
sql -c "$create"
timed "inserts of 1,000 rows" "$records" sql -f "$work/inserts.sql"
sql -c "$create"
cat > "$work/single.sql" <<'SQL'
INSERT INTO record VALUES (gen_random_uuid()::text, repeat('x', 200));
SQL
"$bin/pgbench" -h "$work" -U bench -n -c 64 -j 2 -T 10 -f "$work/single.sql" postgres 2>/dev/null | awk '/^tps/ { printf "%-28s %10.0f rows/s\n", "single rows, 64 clients", $3 }'

#!/usr/bin/env bash
# Serves the same identifiers from touchmark, NSD, Knot, BIND and a responder that does nothing, and prints what a query
# costs each of them: microseconds of CPU of the server's process, resident memory, answers a second.
#
# usage: [NAME=VALUE ...] benches/dns_peers.sh
#
#   RECORDS=1000000        identifiers
#   CASES="cached zipf cold missing overload mix workers"
#                          cached   uniform, every answer in touchmark's cache
#                          zipf     the same with a Zipf distribution, exponent 1
#                          cold     uniform, the cache holds a tenth of the answers
#                          missing  names that do not exist, random, below the prefix of those that do
#                          overload uniform, cached, asked twice as fast as it can be answered; so that a client can ask so
#                                   fast, a process that does nothing else takes half of the servers' processor
#                          mix      touchmark at half its best rate, 20 % of all operations are registrations: latency
#                          workers  touchmark with two workers against one; asks for 4 processors
#   SERVERS="touchmark nsd knot bind empty"
#   ROUNDS=5               rounds of each case; in each round every server has its turn
#   ROUND_SECONDS=10       length of a turn
#   CLIENT=dnsperf         or load, the client in benches/dns, which is also taken where dnsperf is missing
#   WINDOW=100             queries without an answer at most
#   QUERIES=               queries in a file, which is asked again and again [default: RECORDS, at least 1,000,000]
#   EDNS=0                 1: queries carry EDNS
#   PIN=1                  0: do not bind server and client to a processor each (never done for mix and workers)
#   TOUCHMARK=             another binary than that of this source
#   TOUCHMARK_CONFIG_LINES=  further lines of its configuration, separated by semicolons
#   WORKERS_KEY=dns_workers  the key of its configuration for the number of UDP workers; ignored where it has none
#   CACHE_BYTES=4294967296   dns_cache_bytes_max where everything is cached; a node that has no such key gets cache_bytes_max;
#                          auto: its default, and with WORKERS_KEY= as many workers as it likes
#   CACHE_BYTES_COLD=        the same for cold [default: RECORDS / 10 * ANSWER_BYTES]; cache_bytes_max is 1 MiB then
#   ANSWER_BYTES=350         what an answer takes in the cache, about
#   CACHE_BYTES_MISSING=67108864
#
# The target for 10 M identifiers of which the cache holds 1 M:
#   RECORDS=10000000 CASES=cold SERVERS="touchmark empty" benches/dns_peers.sh
#
# Needs Rust, and of the Debian packages dnsperf, nsd, knot and bind9 those that are there; bind9-dnsutils (dig) compares
# answers. Nothing is installed. Works in a temporary folder, on loopback, and leaves nothing behind.
#
# CPU time is utime + stime of the server's processes with all threads, divided by the answers that the client counted.
# Rates depend on what else the machine does, and on a client that takes as much as the server; CPU time much less. Memory
# is the proportional share (PSS), for NSD's processes share theirs. NSD, Knot and BIND answer minimally, log nothing, limit
# nothing. The empty responder's replies are as long as touchmark's in the same case.
set -euo pipefail
export LC_ALL=C

: "${RECORDS:=1000000}" "${CASES:=cached zipf cold missing overload mix workers}" "${SERVERS:=touchmark nsd knot bind empty}"
: "${ROUNDS:=5}" "${ROUND_SECONDS:=10}" "${CLIENT:=dnsperf}" "${WINDOW:=100}" "${EDNS:=0}" "${PIN:=1}"
: "${TOUCHMARK:=}" "${TOUCHMARK_CONFIG_LINES:=}" "${WORKERS_KEY=dns_workers}"
: "${CACHE_BYTES:=4294967296}" "${CACHE_BYTES_MISSING:=67108864}" "${ANSWER_BYTES:=350}"
: "${CACHE_BYTES_COLD:=$((RECORDS / 10 * ANSWER_BYTES))}" "${QUERIES:=$((RECORDS > 1000000 ? RECORDS : 1000000))}"
# The smallest cache that touchmark takes.
((CACHE_BYTES_COLD >= 1048576)) || CACHE_BYTES_COLD=1048576

export PATH=$PATH:/usr/sbin:/sbin
cd "$(dirname "$0")/.."
say() { printf '%s\n' "$*"; }
die() { printf 'dns_peers: %s\n' "$*" >&2; exit 1; }

work=$(mktemp -d)
declare -A pids=() ports=()
stop() { # SERVER
  local pid=${pids[$1]:-}
  [ -n "$pid" ] || return 0
  unset "pids[$1]"
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}
finish() {
  local server
  for server in "${!pids[@]}"; do stop "$server"; done
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# ---------------------------------------------------------------- what there is

say "building"
# This builds touchmark too.
bench=$(cargo bench --no-run --locked --bench dns 2>&1 | tee "$work/build.log" | sed -n 's/.*Executable.*(\(.*\)).*/\1/p')
[ -x "$bench" ] || { tail -5 "$work/build.log" >&2; die "the benchmark was not built"; }
: "${TOUCHMARK:=$(cargo metadata --format-version 1 --no-deps --locked |
  sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/touchmark}"

declare -A command_of=([nsd]=nsd [knot]=knotd [bind]=named) package_of=([nsd]=nsd [knot]=knot [bind]=bind9)
present=""
for server in $SERVERS; do
  case $server in
    touchmark | empty) ;;
    nsd | knot | bind)
      command -v "${command_of[$server]}" >/dev/null || {
        say "without $server: the Debian package ${package_of[$server]} is not installed"
        continue
      }
      ;;
    *) die "no such server: $server" ;;
  esac
  present+=" $server"
done
SERVERS=$present
if [ "$CLIENT" = dnsperf ] && ! command -v dnsperf >/dev/null; then
  say "the Debian package dnsperf is not installed: queries come from benches/dns"
  CLIENT=load
fi
command -v dig >/dev/null || say "the Debian package bind9-dnsutils is not installed: answers are not compared"
if [ -n "$WORKERS_KEY" ] && ! "$TOUCHMARK" config print | grep -Eq "^(# *)?(dns_)?${WORKERS_KEY#dns_} *="; then
  say "touchmark has no key $WORKERS_KEY: it runs with as many workers as it likes"
  WORKERS_KEY=""
fi
CACHE_KEY=dns_cache_bytes_max
"$TOUCHMARK" config print | grep -qE "^(dns_cache_bytes_max|dns_bytes_max) *=" || CACHE_KEY=cache_bytes_max
processors=$(nproc)
if [ "$processors" -lt 2 ] || ! command -v taskset >/dev/null; then PIN=0; fi

# ---------------------------------------------------------------- names and ports

say "making $RECORDS records"
"$bench" records --records "$RECORDS" >"$work/records.jsonl"
"$bench" queries --records "$RECORDS" --distribution each >"$work/each"
head -1 "$work/each" >"$work/one"
needs_zone=0
case " $SERVERS " in *" nsd "* | *" knot "* | *" bind "*) needs_zone=1 ;; esac
[ "$needs_zone" = 0 ] || "$bench" zone --records "$RECORDS" >"$work/zone"

# Free ports below those that clients get.
port=$((10000 + RANDOM % 10000))
for server in $SERVERS grpc; do
  while [ -n "$(ss -Hlnut "sport = :$port" 2>/dev/null)" ]; do port=$((port + 1)); done
  ports[$server]=$((port++))
done

# ---------------------------------------------------------------- servers

pinned=""
start() { # SERVER COMMAND...: in the background, with its output in the folder
  local server=$1
  shift
  [ -z "$pinned" ] || set -- taskset -c 0 "$@"
  "$@" >"$work/$server.log" 2>&1 </dev/null &
  pids[$server]=$!
}
await() { # SERVER: until it answers for the first record
  local server=$1 waited
  for ((waited = 0; waited < 6000; waited++)); do
    kill -0 "${pids[$server]}" 2>/dev/null || { tail -5 "$work/$server.log" >&2; die "$server ended"; }
    "$bench" load --server "127.0.0.1:${ports[$server]}" --queries "$work/one" --once --timeout-ms 100 |
      grep -q "noerror=1 " && return 0
    sleep 0.1
  done
  die "$server does not answer"
}

start_touchmark() { # CACHE_BYTES WORKERS
  {
    echo "data = \"$work/data\""
    echo "zone = \"id.test.\""
    echo "dns = \"127.0.0.1:${ports[touchmark]}\""
    echo "grpc = \"127.0.0.1:${ports[grpc]}\""
    echo "http = \"off\""
    [ "$1" = auto ] || echo "$CACHE_KEY = $1"
    # What other protocols would keep must not stand in for the ledger.
    [ "$CACHE_KEY" = cache_bytes_max ] || [ "$1" != "$CACHE_BYTES_COLD" ] || echo "cache_bytes_max = 1048576"
    echo "log = \"warn\""
    [ -z "$WORKERS_KEY" ] || echo "$WORKERS_KEY = $2"
    tr ';' '\n' <<<"$TOUCHMARK_CONFIG_LINES"
  } >"$work/touchmark.toml"
  start touchmark "$TOUCHMARK" serve --config "$work/touchmark.toml"
}
start_empty() { # REPLY_OCTETS WORKERS
  start empty "$bench" empty --listen "127.0.0.1:${ports[empty]}" --reply-octets "$1" --workers "$2"
}
start_nsd() {
  mkdir -p "$work/nsd"
  cat >"$work/nsd/conf" <<CONF
server:
  ip-address: 127.0.0.1@${ports[nsd]}
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "$work/nsd"
  database: ""
  pidfile: "$work/nsd/pid"
  xfrdfile: "$work/nsd/xfrd"
  zonelistfile: "$work/nsd/zones"
  xfrdir: "$work/nsd"
  minimal-responses: yes
  rrl-ratelimit: 0
  zonefiles-write: 0
remote-control:
  control-enable: no
zone:
  name: id.test
  zonefile: "$work/zone"
CONF
  start nsd nsd -d -c "$work/nsd/conf"
}
start_knot() {
  mkdir -p "$work/knot"
  cat >"$work/knot/conf" <<CONF
server:
  listen: 127.0.0.1@${ports[knot]}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  rundir: "$work/knot"
log:
  - target: stderr
    any: warning
database:
  storage: "$work/knot"
zone:
  - domain: id.test
    file: "$work/zone"
    zonefile-sync: -1
    journal-content: none
    semantic-checks: off
CONF
  start knot knotd -c "$work/knot/conf"
}
start_bind() {
  mkdir -p "$work/bind"
  cat >"$work/bind/conf" <<CONF
options {
  directory "$work/bind";
  listen-on port ${ports[bind]} { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file "$work/bind/pid";
  session-keyfile "$work/bind/session.key";
  recursion no;
  minimal-responses yes;
  dnssec-validation no;
  notify no;
  querylog no;
};
controls { };
logging { category default { null; }; };
zone "id.test" { type primary; file "$work/zone"; };
CONF
  start bind named -f -n 1 -U 1 -c "$work/bind/conf"
}
start_peers() {
  local server
  for server in $SERVERS; do
    case $server in nsd | knot | bind) "start_$server" ;; esac
  done
  for server in $SERVERS; do
    case $server in nsd | knot | bind) await "$server" ;; esac
  done
}
stop_all() {
  local server
  for server in "${!pids[@]}"; do stop "$server"; done
}

# ---------------------------------------------------------------- figures

processes() { # PID: it and what it started
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v root="$1" '{ pid = $1; sub(/^.*\) /, ""); parent[pid] = $2 }
    END { for (pid in parent) { for (up = pid; up in parent && up != root; up = parent[up]) { }
      if (up == root) print pid } }' || true
}
ticks_of() { # PID...: utime + stime, in ticks
  local pid
  for pid in "$@"; do cat "/proc/$pid/stat" 2>/dev/null || true; done |
    awk '{ sub(/^.*\) /, ""); ticks += $12 + $13 } END { print ticks + 0 }'
}
memory_of() { # PID...: proportional share in MB
  local pid
  for pid in "$@"; do
    grep -h '^Pss:' "/proc/$pid/smaps_rollup" 2>/dev/null || grep -h '^VmRSS:' "/proc/$pid/status" 2>/dev/null || true
  done | awk '{ kib += $2 } END { printf "%.0f\n", kib / 1024 }'
}
field() { sed -n "s/.*\b$2=\([0-9.]*\).*/\1/p" <<<"$1"; }

# Asks a server for some seconds; sets answered, rate, lost, failed and p99_us.
ask() { # SERVER QUERIES SECONDS CLIENTS [OPTIONS of load]
  local server=$1 file=$2 seconds=$3 clients=$4 out bind_client=()
  shift 4
  [ -z "$pinned" ] || bind_client=(taskset -c 1)
  if [ "$CLIENT" = dnsperf ] && [ $# = 0 ]; then
    local options=(-c "$clients" -T "$(((clients + 15) / 16))")
    [ "$EDNS" = 0 ] || options+=(-e)
    out=$("${bind_client[@]}" dnsperf -s 127.0.0.1 -p "${ports[$server]}" -d "$file" -l "$seconds" -t 1 -q "$WINDOW" \
      "${options[@]}" 2>&1) || die "dnsperf: $out"
    answered=$(sed -n 's/.*Queries completed: *\([0-9]*\).*/\1/p' <<<"$out")
    lost=$(sed -n 's/.*Queries lost: *\([0-9]*\).*/\1/p' <<<"$out")
    rate=$(sed -n 's/.*Queries per second: *\([0-9.]*\).*/\1/p' <<<"$out")
    failed=$(sed -n 's/.*Response codes: *//p' <<<"$out" | tr ',' '\n' |
      awk '$1 != "NOERROR" && $1 != "NXDOMAIN" { sum += $2 } END { print sum + 0 }')
    p99_us=-
    return
  fi
  # The client has one thread; for several workers there are several.
  local options=(--window "$WINDOW" --sockets "$((clients < 16 ? clients : 16))") client jobs=()
  [ "$EDNS" = 0 ] || options+=(--edns)
  for ((client = 0; client * 16 < clients; client++)); do
    "${bind_client[@]}" "$bench" load --server "127.0.0.1:${ports[$server]}" --queries "$file" --seconds "$seconds" \
      "${options[@]}" "$@" >"$work/client.$client" &
    jobs+=($!)
  done
  wait "${jobs[@]}" || die "the client failed"
  out=$(cat "$work"/client.*)
  rm "$work"/client.*
  read -r answered lost rate failed p99_us < <(awk '{
      for (i = 1; i <= NF; i++) { split($i, pair, "="); value[pair[1]] = pair[2] }
      answered += value["answered"]; lost += value["lost"]; rate += value["per_second"]
      failed += value["other"] + value["truncated"]; if (value["p99_us"] + 0 > p99) p99 = value["p99_us"] + 0
    } END { print answered, lost, rate, failed, p99 }' <<<"$out")
}

# A round of a server: prints a line and keeps it for the table.
round() { # CASE LABEL SERVER ROUND QUERIES SECONDS CLIENTS [OPTIONS of load]
  local case=$1 label=$2 server=$3 number=$4 cpu mb tree
  shift 4
  tree=$(processes "${pids[$server]}")
  # shellcheck disable=SC2086
  cpu=$(ticks_of $tree)
  ask "$server" "$@"
  # shellcheck disable=SC2086
  cpu=$(($(ticks_of $tree) - cpu))
  # shellcheck disable=SC2086
  mb=$(memory_of $tree)
  [ "${answered:-0}" -gt 0 ] || die "$server answered nothing"
  cpu=$(awk -v ticks="$cpu" -v hz="$(getconf CLK_TCK)" -v n="$answered" 'BEGIN { printf "%.3f", ticks / hz * 1e6 / n }')
  printf '%-8s %-12s round %-3s %8.2f us CPU/query %7s MB %10.0f/s  lost %s  failed %s  p99 %s us\n' \
    "$case" "$label" "$number" "$cpu" "$mb" "$rate" "$lost" "$failed" "$p99_us"
  echo "$label $cpu $mb $rate $lost $failed $p99_us" >>"$work/figures"
}

# The table of a case: medians over its rounds, and the ratio to the empty responder.
table() { # TITLE
  say ""
  say "$1"
  awk '
    function median(list, n,   i, j, t, a) {
      split(list, a, " ")
      for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j - 1] + 0 > a[j] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
      return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
    }
    !($1 in count) { order[++labels] = $1; first[$1] = $3 }
    { count[$1]++; cpu[$1] = cpu[$1] " " $2; last[$1] = $3; rate[$1] = rate[$1] " " $4
      lost[$1] += $5; failed[$1] += $6; p99[$1] = p99[$1] " " $7 }
    END {
      printf "%-12s %14s %9s %18s %12s %9s %9s %9s\n", "server", "CPU us/query", "x empty", "MB first -> last", "answered/s", "lost", "failed", "p99 us"
      for (i = 1; i <= labels; i++) {
        name = order[i]; n = count[name]; us = median(cpu[name], n)
        floor = name; if (!sub(/^[a-z]+/, "empty", floor)) floor = "empty"
        ratio = floor in count ? sprintf("%.2f", us / median(cpu[floor], count[floor])) : "-"
        latency = p99[name] ~ /-/ ? "-" : sprintf("%.0f", median(p99[name], n))
        printf "%-12s %14.2f %9s %18s %12.0f %9d %9d %9s\n", name, us, ratio, first[name] " -> " last[name], median(rate[name], n), lost[name], failed[name], latency
      }
    }' "$work/figures"
  say ""
}

# ---------------------------------------------------------------- before measuring

dig_of() { # SERVER NAME: code and records, in order
  dig @127.0.0.1 -p "${ports[$1]}" "$2" TXT +norecurse +noedns +tries=3 |
    sed -n -e 's/.*status: \([A-Z]*\),.*/\1/p' -e '/^[^;].*\sTXT\s/p' | tr -s '\t ' ' ' | sort
}
compare() {
  command -v dig >/dev/null || return 0
  local name server own names
  mapfile -t names < <(awk -v n="$RECORDS" 'NR == 1 || NR == int(n / 2) + 1 || NR == n { print $1 }' "$work/each"
    "$bench" queries --records "$RECORDS" --distribution missing --count 2 --seed 99 | cut -d ' ' -f 1
    echo 8.118.88.hdl.id.test.)
  for name in "${names[@]}"; do
    own=$(dig_of touchmark "$name")
    for server in $SERVERS; do
      case $server in nsd | knot | bind) ;; *) continue ;; esac
      if [ "$(dig_of "$server" "$name")" != "$own" ]; then
        printf 'touchmark:\n%s\n%s:\n%s\n' "$own" "$server" "$(dig_of "$server" "$name")" >&2
        die "$name is answered differently by $server"
      fi
    done
  done
  say "answers compared: ${#names[@]} names, of which 2 do not exist and 1 has only names below it"
}
# Octets of a reply of touchmark, as a mean over some names.
reply_octets() { # QUERIES
  head -500 "$1" >"$work/some"
  local options=()
  [ "$EDNS" = 0 ] || options=(--edns)
  field "$("$bench" load --server "127.0.0.1:${ports[touchmark]}" --queries "$work/some" --once "${options[@]}")" octets
}
warm() { # [QUERIES]: each of them once, or every name
  "$bench" load --server "127.0.0.1:${ports[touchmark]}" --queries "${1:-$work/each}" --once --window 64 >"$work/warm"
  [ "$(field "$(cat "$work/warm")" noerror)" = "$(wc -l <"${1:-$work/each}")" ] || say "not all is warm: $(cat "$work/warm")"
}
has() { case " $SERVERS " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
queries() { # DISTRIBUTION SEED FILE
  local count=$QUERIES
  # None twice in a turn, or negative answers come from the cache.
  [ "$1" != missing ] || count=$((ROUND_SECONDS * 300000))
  "$bench" queries --records "$RECORDS" --distribution "$1" --count "$count" --seed "$2" >"$3"
}

# ---------------------------------------------------------------- cases

# Rounds of all servers, which run; in each round every server has its turn.
rounds() { # CASE DISTRIBUTION
  local number server file=$work/queries
  : >"$work/figures"
  queries "$2" 1 "$file"
  # Once without counting: buffers, branch predictors, caches.
  for server in $SERVERS; do ask "$server" "$file" $((ROUND_SECONDS < 3 ? ROUND_SECONDS : 3)) 1; done
  for ((number = 1; number <= ROUNDS; number++)); do
    # Names that are not cached are others in each round: those of the round before may be by now.
    case $1 in cold | missing) queries "$2" $((number + 1)) "$file" ;; esac
    for server in $SERVERS; do round "$1" "$server" "$server" "$number" "$file" "$ROUND_SECONDS" 1; done
  done
}
throughput() { # CASE DISTRIBUTION CACHE_BYTES TITLE
  queries "$2" 1 "$work/queries"
  local octets=300
  if has touchmark; then
    start_touchmark "$3" 1
    await touchmark
    case $1 in
      cached | zipf) warm ;;
      # Until the cache is as full as it gets.
      cold)
        head -n $((RECORDS / 5)) "$work/queries" >"$work/fill"
        warm "$work/fill"
        ;;
    esac
    octets=$(reply_octets "$work/queries")
  fi
  if has empty; then
    start_empty "$octets" 1
    await empty
  fi
  rounds "$1" "$2"
  table "$4; $RECORDS identifiers, replies of $octets octets, median of $ROUNDS rounds of $ROUND_SECONDS s, $CLIENT"
  stop touchmark
  stop empty
}

overload() {
  local number server best octets=300
  queries uniform 1 "$work/queries"
  if has touchmark; then
    start_touchmark "$CACHE_BYTES" 1
    await touchmark
    warm
    octets=$(reply_octets "$work/queries")
  fi
  if has empty; then
    start_empty "$octets" 1
    await empty
  fi
  start hog sh -c 'while :; do :; done'
  : >"$work/figures"
  for ((number = 1; number <= ROUNDS; number++)); do
    for server in $SERVERS; do
      round overload "$server/best" "$server" "$number" "$work/queries" "$ROUND_SECONDS" 16 --timeout-ms 1000
      best=$rate
      # Open: whatever is not answered within the time is lost, and the next is asked all the same.
      WINDOW=500000 round overload "$server/twice" "$server" "$number" "$work/queries" "$ROUND_SECONDS" 16 \
        --timeout-ms 1000 --rate "$(awk -v rate="$best" 'BEGIN { printf "%.0f", 2 * rate }')"
    done
  done
  table "overload; name/best answers as much as it can, name/twice is asked for twice as much, with half a processor; $RECORDS identifiers, median of $ROUNDS rounds of $ROUND_SECONDS s"
  stop hog
  stop touchmark
  stop empty
}

first_new=$RECORDS
mix() {
  has touchmark || return 0
  local number best half writer
  start_touchmark "$CACHE_BYTES" 1
  await touchmark
  warm
  queries uniform 1 "$work/queries"
  : >"$work/figures"
  ask touchmark "$work/queries" "$ROUND_SECONDS" 1 --timeout-ms 1000
  best=$rate
  half=$(awk -v rate="$best" 'BEGIN { printf "%.0f", rate / 2 }')
  say "mix: touchmark's best rate is $best/s; $half/s are asked, and $((half / 4))/s registered in the lines with writes"
  if has empty; then
    start_empty "$(reply_octets "$work/queries")" 1
    await empty
  fi
  for ((number = 1; number <= ROUNDS; number++)); do
    ! has empty || round mix empty empty "$number" "$work/queries" "$ROUND_SECONDS" 1 --rate "$half"
    round mix quiet touchmark "$number" "$work/queries" "$ROUND_SECONDS" 1 --rate "$half"
    "$bench" register --server "127.0.0.1:${ports[grpc]}" --first "$first_new" --rate $((half / 4)) \
      --seconds "$ROUND_SECONDS" >"$work/writer" &
    writer=$!
    round mix writes touchmark "$number" "$work/queries" "$ROUND_SECONDS" 1 --rate "$half"
    wait "$writer" || die "the writer failed"
    say "         $(cat "$work/writer")"
    first_new=$((first_new + half / 4 * (ROUND_SECONDS + 2)))
  done
  table "mix; $half queries/s of cached names, quiet and with $((half / 4)) registrations/s (whose CPU is counted too)"
  stop touchmark
  stop empty
}

workers() {
  [ "$processors" -ge 4 ] || say "workers: $processors processors are too few for two workers and their client; read with care"
  local number server count octets=300
  queries uniform 1 "$work/queries"
  : >"$work/figures"
  for ((number = 1; number <= ROUNDS; number++)); do
    for count in 1 2; do
      if has touchmark; then
        start_touchmark "$CACHE_BYTES" "$count"
        await touchmark
        warm
        octets=$(reply_octets "$work/queries")
      fi
      if has empty; then
        start_empty "$octets" "$count"
        await empty
      fi
      for server in touchmark empty; do
        has "$server" || continue
        round workers "$server/$count" "$server" "$number" "$work/queries" "$ROUND_SECONDS" 32
      done
      stop touchmark
      stop empty
    done
  done
  table "workers; name/2 has two, uniform, cached, $RECORDS identifiers, median of $ROUNDS rounds of $ROUND_SECONDS s, $CLIENT"
}

if has touchmark; then
  say "importing"
  start_touchmark "$CACHE_BYTES" 1
  await_grpc() {
    for _ in $(seq 600); do
      (: </dev/tcp/127.0.0.1/"${ports[grpc]}") 2>/dev/null && return 0
      kill -0 "${pids[touchmark]}" 2>/dev/null || { tail -5 "$work/touchmark.log" >&2; die "touchmark ended"; }
      sleep 0.1
    done
    die "touchmark does not listen"
  }
  await_grpc
  "$TOUCHMARK" import --server "127.0.0.1:${ports[grpc]}" "$work/records.jsonl" >"$work/import.log" 2>&1 ||
    { tail -5 "$work/import.log" >&2; die "the import failed"; }
  rm "$work/records.jsonl"
fi
[ "$PIN" = 0 ] || pinned=1
say "starting the others: nsd, knot and bind read $RECORDS names"
start_peers
if has touchmark; then
  compare
  stop touchmark
fi
say "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $processors processors, Linux $(uname -r); one worker each, client $CLIENT$([ -z "$pinned" ] || echo ", bound to a processor each")"

for case in $CASES; do
  case $case in
    cached) throughput cached uniform "$CACHE_BYTES" "cached, uniform" ;;
    zipf) throughput zipf zipf "$CACHE_BYTES" "cached, Zipf" ;;
    cold) throughput cold uniform "$CACHE_BYTES_COLD" "cold: touchmark's cache of $CACHE_BYTES_COLD bytes" ;;
    missing) throughput missing missing "$CACHE_BYTES_MISSING" "missing: names that do not exist" ;;
    overload) overload ;;
    mix | workers) ;;
    *) die "no such case: $case" ;;
  esac
done
stop_all
pinned=""
# Here the server may have every processor: it writes too, or has two workers.
for case in $CASES; do
  case $case in mix | workers) "$case" ;; esac
done

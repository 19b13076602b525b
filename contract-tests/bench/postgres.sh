#!/usr/bin/env bash
# Bookings per second of the whole mesh on a durable PostgreSQL server, beside pgbench running the same statements on the same server.
#
#   contract-tests/bench/postgres.sh [--seconds S] [--concurrency N] [--clients N] [--rounds R] [--holdfast PATH]
#
# Starts a server of its own (fsync=on, synchronous_commit=on, on 127.0.0.1), runs `holdfast up --database` on it, then takes turns: `holdfast
# load` with N callers, pgbench with booking.sql and as many connections as the services use in one booking's path. Prints both rates, their
# ratio, commits per booking, and the CPU time of one booking on either side. Ends what it started; keeps nothing.
set -euo pipefail

seconds=10 concurrency=64 clients=32 rounds=3 holdfast=
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 ;;
    --concurrency) concurrency=$2 ;;
    --clients) clients=$2 ;;
    --rounds) rounds=$2 ;;
    --holdfast) holdfast=$2 ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift 2
done
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
if [ -z "$holdfast" ]; then
    cargo build --release --package holdfast --quiet
    holdfast=${CARGO_TARGET_DIR:-target}/release/holdfast
fi
bin=${POSTGRES_BIN:-$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)}
export HOLDFAST_TOOLS_DIR=${HOLDFAST_TOOLS_DIR:-$PWD/.holdfast/tools}

work=$(mktemp -d)
mesh=
server=
finish() {
    [ -z "$mesh" ] || { kill -INT "$mesh" 2>/dev/null && wait "$mesh" 2>/dev/null; } || true
    [ -z "$server" ] || { kill -INT "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    rm -rf "$work"
}
trap finish EXIT

# PostgreSQL refuses to run as root.
chmod 755 "$work"
mkdir -m 700 "$work/pg"
as_nobody=()
if [ "$(id -u)" = 0 ]; then
    chown 65534:65534 "$work/pg"
    as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
(cd / && "${as_nobody[@]}" "$bin/initdb" -D "$work/pg" -U postgres -A trust --locale=C -E UTF8 >"$work/initdb.log")
port=$((20000 + RANDOM % 5000))
base=$((25000 + RANDOM % 5000))
# `exec`, so that the process id is the server's own.
(cd / && exec "${as_nobody[@]}" "$bin/postgres" -D "$work/pg" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c max_connections=200 -c shared_buffers=512MB -c fsync=on -c synchronous_commit=on -c full_page_writes=on -c max_wal_size=4GB) 2>"$work/pg.log" &
server=$!
sql() { "$bin/psql" -h 127.0.0.1 -p "$port" -U postgres -qAtX -v ON_ERROR_STOP=1 "$@"; }
for _ in $(seq 300); do sql -c 'SELECT 1' postgres >/dev/null 2>&1 && break; sleep 0.1; done
sql -c 'CREATE DATABASE mesh' -c 'CREATE DATABASE pgbench' postgres

"$holdfast" up --processes --data-dir "$work/home" --port-base "$base" --database "postgres://postgres@127.0.0.1:$port/mesh" >"$work/up.log" 2>&1 &
mesh=$!
for _ in $(seq 600); do grep -q 'Ctrl-C ends everything' "$work/up.log" && break; sleep 0.1; done
load() { "$holdfast" load --data-dir "$work/home" "$@"; }
load --seconds 1 --warmup 0 --concurrency 4 --no-audit >/dev/null

# The same tables, and listings of the same size, for pgbench.
"$bin/pg_dump" -h 127.0.0.1 -p "$port" -U postgres --schema-only mesh | sql -o /dev/null pgbench
"$bin/pg_dump" -h 127.0.0.1 -p "$port" -U postgres --data-only --table listing.listings mesh | sql -o /dev/null pgbench
sql pgbench <<'SQL'
DO $$ DECLARE one listing.listings;
BEGIN
    SELECT * INTO one FROM listing.listings WHERE kind = 'ROOM' ORDER BY id DESC LIMIT 1;
    FOR number IN 1..20 LOOP
        one.id := int8send(0) || int8send(number);
        INSERT INTO listing.listings SELECT one.*;
    END LOOP;
END $$;
-- Triggers name tables as their service's connections see them.
DO $$ DECLARE it record;
BEGIN
    FOR it IN SELECT oid::regprocedure AS name, pronamespace::regnamespace AS schema FROM pg_proc
        WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)') LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path TO %s', it.name, it.schema);
    END LOOP;
END $$;
SQL

confirmed() { sql -c "SELECT count(*) FROM reservation.reservations WHERE state = 'CONFIRMED'" mesh; }
booked_before=$(confirmed)
hertz=$(getconf CLK_TCK)
# CPU time of the server so far, in microseconds: of its living processes and, in the first one's account, of those that have ended.
cpu() {
    for stat in "/proc/$server/stat" $(sed 's|[0-9]*|/proc/&/stat|g' <(ps -o pid= --ppid "$server" | tr -s ' \n' ' ' | sed 's/^ //;s/ $//')); do
        sed 's/^.*) //' "$stat" 2>/dev/null | awk -v first="$([ "$stat" = "/proc/$server/stat" ] && echo 1 || echo 0)" \
            '{ print $12 + $13 + (first ? $14 + $15 : 0) }' || true
    done | awk -v hertz="$hertz" '{ sum += $1 } END { printf "%d", sum * 1000000 / hertz }'
}
commits() { sql -c "SELECT pg_stat_force_next_flush(); SELECT xact_commit FROM pg_stat_database WHERE datname = '$1'" postgres | tail -1; }
n=1000000000000
printf '%-8s %12s %14s %18s %s\n' "" bookings/s commits/book. "postgres CPU µs" "other CPU"
for round in $(seq "$rounds"); do
    before=$(cpu) committed=$(commits mesh)
    load --seconds "$seconds" --warmup 2 --concurrency "$concurrency" --no-audit >"$work/load"
    # With those of the warm-up: commits and CPU time have them, too.
    booked=$(($(confirmed) - booked_before))
    booked_before=$((booked_before + booked))
    rate=$(awk '/bookings +[0-9]/ { gsub(/[^0-9.]/, "", $2); print $2; exit }' "$work/load")
    printf '%-8s %12s %14s %18s %s\n' mesh "$rate" "$(awk -v c=$(($(commits mesh) - committed)) -v b="$booked" 'BEGIN { printf "%.1f", c / b }')" \
        "$((($(cpu) - before) / booked))" "$(sed -n 's/^ *CPU *//p' "$work/load")"
    echo "$rate" >>"$work/mesh.rates"

    before=$(cpu) committed=$(commits pgbench) n=$((n + 1000000000))
    { TIMEFORMAT='%U %S'; time "$bin/pgbench" -h 127.0.0.1 -p "$port" -U postgres -n -M prepared -c "$clients" -j 2 -T "$seconds" -D "n=$n" -f "$here/booking.sql" pgbench \
        >"$work/pgbench" 2>"$work/pgbench.err"; } 2>"$work/time" || { head -5 "$work/pgbench.err"; exit 1; }
    made=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$work/pgbench")
    rate=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$work/pgbench")
    printf '%-8s %12.0f %14s %18s %s\n' pgbench "$rate" "$(awk -v c=$(($(commits pgbench) - committed)) -v b="$made" 'BEGIN { printf "%.1f", c / b }')" \
        "$((($(cpu) - before) / made))" "$(awk -v b="$made" '{ printf "%d µs per booking in pgbench", ($1 + $2) * 1000000 / b }' "$work/time")"
    echo "$rate" >>"$work/pgbench.rates"
done
median() { sort -n "$1" | awk '{ rate[NR] = $1 } END { print rate[int((NR + 1) / 2)] }'; }
awk -v mesh="$(median "$work/mesh.rates")" -v pgbench="$(median "$work/pgbench.rates")" -v c="$concurrency" -v k="$clients" \
    'BEGIN { printf "medians: mesh %.0f/s with %d callers, pgbench %.0f/s with %d connections: %.0f %%\n", mesh, c, pgbench, k, 100 * mesh / pgbench }'
load --seconds 1 --warmup 0 --concurrency 4 | tail -3

#!/bin/bash
# From nothing to a running broker on Debian 12: packages, build, server, a topic with a few records, and what to try
# next. Serves until Ctrl+C.
set -u
cd "$(dirname "$0")" || exit 1

usage() {
    cat <<'END'
usage: ./quickstart.sh [--once] [--port N] [--http-port N] [--data-dir DIR]
  --once         stop after the demo, exit status 0
  --port         Kafka port, default 9092
  --http-port    port of health and metrics, default 8080
  --data-dir     default ./data; records stay there
END
}

once=no port=9092 http_port=8080 grpc_port=50051 data=./data topic=demo
while [ $# -gt 0 ]; do
    case $1 in
    --once) once=yes ;;
    --port | --http-port | --data-dir)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        case $1 in --port) port=$2 ;; --http-port) http_port=$2 ;; *) data=$2 ;; esac
        shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done

bold='' dim='' red='' green='' off=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' off=$'\e[0m'
fi
log=$(mktemp)
server_log=build/quickstart-server.log
server=

step() { printf '%s%-10s%s %s\n' "$bold" "$1" "$off" "$2"; }
show() { printf '%s           $ %s%s\n' "$dim" "$*" "$off"; }
die() {
    printf '%s%s%s\n' "$red" "$1" "$off" >&2
    shift
    printf '%s\n' "$@" >&2
    exit 1
}

finish() {
    if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then
        wait "$server"
    fi
    rm -f "$log"
}
trap finish EXIT
trap 'echo; exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

can_connect() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() { # the next one above $1 that nobody listens on and that is not $2
    local p=$(($1 + 1))
    while can_connect "$p" || [ "$p" = "$2" ]; do p=$((p + 1)); done
    echo "$p"
}

holder() { # who listens on port $1, when the system tells
    command -v ss >/dev/null || return 0
    ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ (by \1, process \2)/p' | head -n 1
}

require_free_ports() {
    local new_port=$port new_http=$http_port taken=''
    if can_connect "$grpc_port"; then # the tour does not need it to be that one
        grpc_port=$(free_port "$grpc_port" "$http_port")
    fi
    if can_connect "$port"; then
        taken="port $port is in use$(holder "$port")"
        new_port=$(free_port "$port" "$http_port")
    fi
    if can_connect "$http_port"; then
        taken="${taken:+$taken; }port $http_port is in use$(holder "$http_port")"
        new_http=$(free_port "$http_port" "$new_port")
    fi
    [ -z "$taken" ] && return
    local try="./quickstart.sh"
    [ "$once" = yes ] && try="$try --once"
    [ "$data" != ./data ] && try="$try --data-dir $data"
    [ "$new_port" != 9092 ] && try="$try --port $new_port"
    [ "$new_http" != 8080 ] && try="$try --http-port $new_http"
    die "$taken" "free ones: $try"
}

install_packages() {
    tools/deps.sh build run demo >"$log" 2>&1 || die "The packages could not be installed:" "$(cat "$log")"
    step packages "$(if [ -s "$log" ]; then echo installed; else echo 'all there'; fi)"
}

build() {
    local started=$SECONDS
    [ -x build/sluice ] || step build "about a minute the first time"
    make >"$log" 2>&1 || die "The build failed:" "$(tail -n 40 "$log")"
    step build "build/sluice, build/sluicectl ($((SECONDS - started)) s)"
}

is_ready() {
    [ -f "$data/ports.json" ] || return 1
    local answer
    answer=$( (exec 3<>"/dev/tcp/127.0.0.1/$http_port" && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 &&
        head -n 1 <&3) 2>/dev/null)
    [[ $answer == *" 200 "* ]]
}

start_server() {
    # In a session of its own: Ctrl+C goes to the script alone, which ends the server with one SIGTERM. A second signal
    # would cut its clean stop short.
    setsid build/sluice serve --data-dir "$data" --kafka-addr "127.0.0.1:$port" --http-addr "127.0.0.1:$http_port" \
        --grpc-addr "127.0.0.1:$grpc_port" \
        >"$server_log" 2>&1 </dev/null &
    server=$!
    local tries=0
    until is_ready; do
        if ! kill -0 "$server" 2>/dev/null; then
            wait "$server"
            server=
            die "The server did not start:" "$(tail -n 20 "$server_log")"
        fi
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || die "The server is not ready after 30 s:" "$(tail -n 20 "$server_log")"
        sleep 0.05
    done
    step server "Kafka on 127.0.0.1:$port, gRPC on 127.0.0.1:$grpc_port, health and metrics on 127.0.0.1:$http_port, data in $data"
}

create_topic() {
    if build/sluicectl topic create "$topic" --bootstrap "127.0.0.1:$port" >"$log" 2>&1; then
        step topic "$topic created"
    elif grep -qi 'exist' "$log"; then
        step topic "$topic is there from last time"
    else
        die "The topic could not be created:" "$(cat "$log")"
    fi
    show build/sluicectl topic create "$topic" --bootstrap "127.0.0.1:$port"
}

try_records() {
    local broker=127.0.0.1:$port sent got
    sent=$(printf 'apple:red\nbanana:yellow\ncherry:dark red, written %s\n' "$(date +%T)")
    show "printf 'apple:red\\nbanana:yellow\\n...' | kcat -b $broker -P -t $topic -K: -X acks=all"
    printf '%s\n' "$sent" | kcat -b "$broker" -P -t "$topic" -K: -X acks=all >"$log" 2>&1 ||
        die "kcat could not produce:" "$(cat "$log")"
    show "kcat -b $broker -C -t $topic -o -3 -e -f '%k:%s  (offset %o)\\n'"
    got=$(kcat -b "$broker" -C -t "$topic" -o -3 -e -q -f '%k:%s  (offset %o)\n' 2>"$log") ||
        die "kcat could not consume:" "$(cat "$log")"
    printf '%s\n' "$got" | sed 's/^/           /'
    [ "$(printf '%s\n' "$got" | sed 's/  (offset [0-9]*)$//')" = "$sent" ] ||
        die "What came back is not what was sent:" "$sent"
    step records "3 written to stable storage and read back"
}

what_next() {
    local broker=127.0.0.1:$port
    printf '\nTry next, in another terminal:\n'
    printf '  %-62s %s\n' \
        "kcat -b $broker -C -t $topic" "follow the topic" \
        "echo 'key:value' | kcat -b $broker -P -t $topic -K:" "add a record" \
        "build/sluicectl topic list --bootstrap $broker" "what is there" \
        "build/sluicectl --help" "topics, groups, produce, consume, status, doctor" \
        "http://127.0.0.1:$http_port/metrics" "counters for Prometheus"
    printf 'Any Kafka client works: bootstrap.servers=%s\n' "$broker"
}

require_free_ports
install_packages
build
start_server
create_topic
try_records
[ "$once" = no ] || exit 0
what_next
trap 'echo; echo stopping; exit 0' INT TERM
printf '\n%sserving%s, log in %s; Ctrl+C ends it, the records stay in %s\n' "$green" "$off" "$server_log" "$data"
wait "$server"
status=$?
server=
die "The server ended by itself with status $status:" "$(tail -n 20 "$server_log")"

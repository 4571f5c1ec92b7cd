#!/usr/bin/env bash
# Real clients against the HTTP server of c-examples: curl and wrk.
# usage: tests/http.sh [--full] DIRECTORY      where 22_http_hello was built, as build/c-examples
# --full takes a file of 100 MiB and 10 s of 256 connections, instead of 16 MiB and 2 s of 64.
# One line a check, `ok - what` or `not ok - what`; exit status 1 after any `not ok`, 2 where something is missing.
set -euo pipefail

mib=16 seconds=2 connections=64
if [[ ${1:-} == --full ]]; then
    mib=100 seconds=10 connections=256
    shift
fi
server=${1:-}/22_http_hello
[[ $# -eq 1 && -x $server ]] || { echo "usage: $0 [--full] DIRECTORY (of 22_http_hello)" >&2; exit 2; }
for tool in curl wrk; do
    command -v "$tool" >/dev/null || { echo "$0: $tool is needed (apt-get install $tool)" >&2; exit 2; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/gyre-http.XXXXXX")
server_pid=
clean_up() {
    if [[ -n $server_pid ]]; then
        kill -KILL "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

failures=0
# check WHAT COMMAND...: the command says nothing unless it fails.
check() {
    local what=$1
    shift
    if "$@" >"$work/out" 2>&1 </dev/null; then
        echo "ok - $what"
    else
        echo "not ok - $what"
        sed 's/^/    /' "$work/out"
        failures=$((failures + 1))
    fi
}

# ---- the server, and its files ----

www=$work/www
mkdir -p "$www/sub"
head -c "$((mib * 1048576))" /dev/urandom >"$www/big"
echo '<p>small</p>' >"$www/sub/small.html"
: >"$www/empty"
echo secret >"$work/secret"
ln -s "$work/secret" "$www/link"
ln -s "$work" "$www/up"
mkfifo "$www/fifo"

: >"$work/log"
"$server" 127.0.0.1:0 "$www" >"$work/log" 2>&1 </dev/null &
server_pid=$!
deadline=$((SECONDS + 10))
until address=$(sed -n '1s/^listening on \([0-9.]*:[0-9]*\)$/\1/p' "$work/log") && [[ -n $address ]]; do
    if ! kill -0 "$server_pid" 2>/dev/null || ((SECONDS >= deadline)); then
        echo "$0: the server does not start:" >&2
        cat "$work/log" >&2
        exit 1
    fi
    sleep 0.05
done
url=http://$address

memory_kib() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB$/\1/p' "/proc/$server_pid/status"; }
# Sockets and files that are open: the listener, and what serves somebody.
descriptors() { find "/proc/$server_pid/fd" \( -lname 'socket:*' -o -lname "$www/*" \) | wc -l; }

# ---- what is asked for ----

get() { curl -sS --http1.1 --max-time 60 "$@"; }

says_hello() { [[ $(get "$url/") == 'Hello, world!' ]]; }

# status WANT CURL_ARGUMENTS...
status() {
    local want=$1 got
    shift
    got=$(get --path-as-is -o /dev/null -w '%{http_code}' "$@")
    [[ $got == "$want" ]] || { echo "status $got, not $want"; return 1; }
}

is_the_file() { get "$url/$1" | cmp - "$www/$1"; }

head_has_no_body() {
    get -I "$url/big" >"$work/head"
    grep -q "^Content-Length: $((mib * 1048576))"$'\r$' "$work/head" && ! grep -q -v $'\r$' "$work/head"
}

one_connection_serves_all() {
    local connects
    connects=$(get "$url/" "$url/sub/small.html" "$url/empty" "$url/big" "$url/nowhere" "$url/" \
        -o /dev/null -o /dev/null -o /dev/null -o /dev/null -o /dev/null -o /dev/null -w '%{num_connects}')
    [[ $connects == 100000 ]] || { echo "connections made: $connects"; return 1; }
}

# talk PIECE...: sends the pieces with a moment between them, and prints all that the server answers.
talk() {
    local piece
    exec 3<>"/dev/tcp/${address%:*}/${address#*:}"
    for piece in "$@"; do
        printf '%s' "$piece" >&3
        sleep 0.02
    done
    timeout 20 cat <&3
    exec 3>&-
}

request() { printf 'GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n.' "$1" "${2:-}"; }

# Requests that come at once, or in pieces that end anywhere, are answered in their order.
pipelined_requests_are_answered_in_order() {
    local all want i
    all=$(request /) && all=${all%.}
    all+=$(request /sub/small.html) && all=${all%.}
    all+=$(request /nowhere) && all=${all%.}
    all+=$(request /empty) && all=${all%.}
    all+=$(request / $'Connection: close\r\n') && all=${all%.}
    want='200 14 200 13 404 10 200 0 200 14'
    for i in 0 1 17 40 60 "$((${#all} - 1))"; do
        talk "${all:0:i}" "${all:i}" | tr -d '\r' |
            sed -n 's/^HTTP.1.1 \([0-9]*\) .*/\1/p; s/^Content-Length: //p' | paste -sd' ' >"$work/answers"
        [[ $(<"$work/answers") == "$want" ]] || { echo "split at $i: $(<"$work/answers")"; return 1; }
    done
}

garbage_is_refused() { talk $'what is this?\r\n\r\n' | grep -q '^HTTP/1.1 400 Bad Request'; }

several_at_once() {
    local pids=() pid
    for _ in 1 2 3 4; do
        is_the_file big &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
}

# Clients that are slow, and some that go away in the middle: what the server holds for them is bounded.
slow_clients_cost_little() {
    local before grown pids=() pid
    before=$(memory_kib)
    for _ in {1..20}; do
        get --limit-rate 200k --max-time 2 -o /dev/null "$url/big" 2>/dev/null &
        pids+=($!)
    done
    sleep 1
    grown=$(($(memory_kib) - before))
    for pid in "${pids[@]}"; do wait "$pid" || true; done # cut off by --max-time
    ((grown < 20 * 512)) || { echo "$grown KiB for 20 slow clients"; return 1; }
}

load() {
    wrk --connections "$connections" --threads 2 --duration "${seconds}s" "$url$1" >"$work/wrk"
    cat "$work/wrk"
    ! grep -q -e 'Socket errors' -e 'Non-2xx' "$work/wrk" && grep -q '^ *[1-9][0-9]* requests in' "$work/wrk"
}

nothing_is_left() {
    local deadline=$((SECONDS + 5))
    until (($(descriptors) == 1)); do
        ((SECONDS < deadline)) || { echo "$(descriptors) sockets and files are open"; return 1; }
        sleep 0.05
    done
}

ends_in_order() {
    local pid=$server_pid deadline=$((SECONDS + 10))
    kill -INT "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        ((SECONDS < deadline)) || { echo "it does not stop at SIGINT"; return 1; }
        sleep 0.05
    done
}

check "/ says hello" says_hello
check "a small file comes whole" is_the_file sub/small.html
check "an empty file comes whole" is_the_file empty
check "a file of $mib MiB comes whole" is_the_file big
check "four clients at once get it whole" several_at_once
check "HEAD has a length and no body" head_has_no_body
check "a connection is kept for the next request" one_connection_serves_all
check "pipelined requests are answered in order, wherever they are split" pipelined_requests_are_answered_in_order
check "HTTP/1.0 is closed after the answer" status 200 --http1.0 "$url/"
check "what is not there is 404" status 404 "$url/nowhere"
check "a directory is 404" status 404 "$url/sub"
check "a FIFO is 404, and does not block" status 404 "$url/fifo"
check ".. is refused" status 404 "$url/../secret"
check ".. in the middle is refused" status 404 "$url/sub/../../secret"
check "encoded .. is refused" status 404 "$url/%2e%2e/secret"
check "a symbolic link is refused" status 404 "$url/link"
check "a symbolic link in the middle is refused" status 404 "$url/up/secret"
check "an encoded NUL is 400" status 400 "$url/sub/small.html%00.txt"
check "a target that is too long is 414" status 414 "$url/$(printf 'x%.0s' {1..2000})"
check "POST is 405" status 405 -d something "$url/"
check "garbage is 400" garbage_is_refused
check "slow clients cost little memory" slow_clients_cost_little
check "wrk: $connections connections for $seconds s without an error" load /
check "wrk: the same on a file" load /sub/small.html
check "no connection and no file is left open" nothing_is_left
check "SIGINT ends it" ends_in_order
status=0
wait "$server_pid" || status=$?
server_pid=
check "its exit status is 0" test "$status" -eq 0
check "it has complained of nothing" test "$(wc -l <"$work/log")" -eq 1

if ((failures > 0)); then
    echo "http: $failures checks failed"
    exit 1
fi
echo "http: all checks passed"

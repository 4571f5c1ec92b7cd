#!/usr/bin/env bash
# Checks c-examples/10_aio_copy on each engine: copies are right, what goes wrong is told, nothing incomplete is left.
# usage: tests/copy.sh PROGRAM [MIB]      (the built example; the size of the copy, by default 64)
# One line a check, `ok - what`, `not ok - what` with the output of what failed, or `skipped - what: why`; exit status
# 1 after any `not ok`.
set -euo pipefail

[[ $# -ge 1 && $# -le 2 && -x $1 && ${2:-64} =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 PROGRAM [MIB]" >&2; exit 2; }
program=$(realpath "$1")
mib=${2:-64}

work=$(mktemp -d "${TMPDIR:-/tmp}/gyre-copy.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C
unset GYRE_BACKEND GYRE_ENGINE

readonly DEADLINE=300 # seconds, for a copy
failures=0

# check WHAT COMMAND...: runs it with `set -e` in a subshell of its own and tells how it went.
check() {
    local what=$1 status=0
    shift
    # Not in an `if` or `||`: bash would ignore `set -e` inside of the command.
    set +e
    (set -e; "$@") >log 2>&1 </dev/null
    status=$?
    set -e
    if ((status == 0)); then
        echo "ok - $what"
    else
        echo "not ok - $what"
        sed 's/^/    /' log
        failures=$((failures + 1))
    fi
}

skip() { echo "skipped - $1: $2"; }

# run ENGINE ARGUMENT...: becomes the program. The engine posix_aio/thread is posix_aio told by threads, which it is
# where no signal can be queued.
run() {
    local engine=$1
    shift
    [[ $engine != */thread ]] || ulimit -i 0
    exec timeout --foreground --kill-after=10 "$DEADLINE" "${prefix[@]}" "$program" --engine "${engine%/thread}" "$@"
}
prefix=() # what the program is run under

# copy ENGINE ARGUMENT...: runs the program; leaves its exit status in `status`, its output in `out` and `err`.
copy() {
    status=0
    (run "$@") >out 2>err || status=$?
    cat out err
}

# copy_and ENGINE COMMAND...: the same, copying a file that is longer than there is patience for; in the middle of it
# COMMAND is run, and should end it.
copy_and() {
    local engine=$1 pid turns
    shift
    truncate -s 8G long
    (run "$engine" long destination) >out 2>err &
    pid=$!
    for ((turns = 0; turns < 1000; turns++)); do
        (($(stat -c %s destination 2>/dev/null || echo 0) < 8 << 20)) || break
        sleep 0.02
    done
    "$@" "$pid"
    status=0
    wait "$pid" || status=$?
    cat out err
    rm long
}

# exits STATUS: the program has ended so.
exits() { ((status == $1)) || { echo "exit status $status instead of $1"; return 1; }; }

# tells WHAT: it has said so, and nothing of a copy.
tells() {
    grep -F -- "$1" err
    [[ ! -s out ]] || { echo "and yet it tells of a copy"; return 1; }
}

# leaves_nothing FILE: there is no incomplete copy.
leaves_nothing() { [[ ! -e $1 ]] || { echo "it has left $1"; return 1; }; }

# ---- copies ----

is_right() {
    copy "$1" "${@:2}" source destination
    exits 0
    cmp source destination
    grep -E "^bytes=$(stat -c %s source) .* engine=${1%/thread} .* verified=yes\$" out
    rm destination
}

# Of no bytes, of less than a block, and over what was longer.
small_ones_are_right() {
    local size
    for size in 0 1 4095 300000; do
        head -c "$size" source >small
        head -c 1000000 source >destination
        copy "$1" small destination
        exits 0
        cmp small destination
    done
    rm small destination
}

# ---- what goes wrong ----

is_interrupted() {
    copy_and "$1" kill -INT
    exits 130
    tells "the incomplete copy is removed"
    leaves_nothing destination
}

cut_source() { truncate -s 100 long; }

tells_of_a_source_that_becomes_shorter() {
    copy_and "$1" cut_source
    exits 1
    tells "long: read at byte "
    tells "the file has become shorter"
    leaves_nothing destination
}

tells_of_a_full_device() {
    copy "$1" source /dev/full
    exits 1
    tells "/dev/full: write at byte 0: "
    tells "ENOSPC"
}

# A limit of 5 MiB, in the middle of a block.
tells_of_the_limit_of_file_sizes() {
    local limit=$((5 * 1024 + 100))
    (
        ulimit -f "$limit"
        copy "$1" --depth "$2" source destination
        exits 1
    )
    tells "destination: write at byte "
    tells "EFBIG"
    leaves_nothing destination
}

# Files of sysfs have a length, and this one fails as it is read: the loopback interface has no speed.
readonly UNREADABLE=/sys/class/net/lo/speed

tells_of_an_unreadable_source() {
    copy "$1" "$UNREADABLE" destination
    exits 1
    tells "$UNREADABLE: read at byte 0: "
    leaves_nothing destination
}

# The fifth read fails, when others have been written.
tells_of_a_read_error_in_the_middle() {
    prefix=(strace -f -qq -o trace -e trace=pread64 -e inject=pread64:error=EIO:when=5)
    copy "$1" --depth 2 source destination
    grep -q INJECTED trace
    exits 1
    tells "source: read at byte "
    tells "EIO"
    leaves_nothing destination
}

# refuses SOURCE MESSAGE
refuses() {
    copy auto "$1" destination
    exits 1
    tells "$2"
    leaves_nothing destination
}

leaves_the_source_alone() {
    cp source twin
    copy auto source source
    exits 1
    tells "is the source itself"
    cmp source twin
    rm twin
}

# ---- without io_uring ----

# without ERROR: what follows finds no io_uring.
without() { prefix=(strace -f -qq -o trace -e trace=io_uring_setup -e "inject=io_uring_setup:error=$1"); }

falls_back() {
    without "$1"
    copy auto source destination
    grep -q INJECTED trace
    exits 0
    cmp source destination
    grep -E " engine=(emulated|posix_aio) .* verified=yes\$" out
    rm destination
}

says_that_there_is_none() {
    without "$1"
    copy io_uring source destination
    grep -q INJECTED trace
    exits 3
    tells "the engine io_uring is not to be had here"
    leaves_nothing destination
}

# ---- all of it ----

if strace -f -qq -o trace -e inject=getpid:error=EPERM true 2>/dev/null; then # it may be forbidden, too
    injection=true
else
    injection=false
fi
engines=(emulated posix_aio posix_aio/thread)
status=0
"$program" --engine io_uring /dev/null /dev/null >/dev/null 2>&1 || status=$?
if ((status == 3)); then
    skip "copies on io_uring" "this system has none"
else
    engines+=(io_uring)
fi

# Neither a multiple of a block nor of a page.
{ head -c "$mib"M /dev/urandom && head -c 12345 /dev/urandom; } >source

for engine in "${engines[@]}"; do
    check "$engine: a copy of $mib MiB is right" is_right "$engine"
    check "$engine: one block at a time, too" is_right "$engine" --depth 1
    check "$engine: small files are copied, over longer ones" small_ones_are_right "$engine"
    check "$engine: an interrupt in the middle ends it in good order" is_interrupted "$engine"
    check "$engine: a full device is told" tells_of_a_full_device "$engine"
    check "$engine: the limit of file sizes is told" tells_of_the_limit_of_file_sizes "$engine" 16
    check "$engine: also with one block at a time" tells_of_the_limit_of_file_sizes "$engine" 1
    check "$engine: a source that becomes shorter is told" tells_of_a_source_that_becomes_shorter "$engine"
    if [[ -f $UNREADABLE ]] && ! head -c 1 "$UNREADABLE" >/dev/null 2>&1; then
        check "$engine: a source that cannot be read is told" tells_of_an_unreadable_source "$engine"
    else
        skip "$engine: a source that cannot be read is told" "$UNREADABLE can be read here"
    fi
    if [[ $engine == io_uring ]]; then
        continue # it reads by no system call that could be made to fail
    elif $injection; then
        check "$engine: a read error in the middle is told" tells_of_a_read_error_in_the_middle "$engine"
    else
        skip "$engine: a read error in the middle is told" "strace is not to be had"
    fi
done

check "a directory is refused" refuses . "not a regular file"
check "a source that is not there is refused" refuses nowhere "No such file or directory"
check "a copy onto the source is refused" leaves_the_source_alone
for error in EPERM ENOSYS; do
    if $injection; then
        check "without io_uring ($error) another engine copies" falls_back "$error"
        check "without io_uring ($error) naming it is told" says_that_there_is_none "$error"
    else
        skip "without io_uring ($error)" "strace is not to be had"
    fi
done

if ((failures > 0)); then
    echo "copy: $failures checks failed"
    exit 1
fi
echo "copy: all checks passed"

#!/bin/sh
# Starts three members on loopback, for trying out a cluster; Ctrl-C stops them. Clients connect to ports
# 2379, 22379 and 32379. Data and logs go into the directory that is given, ./three-members if none is.
#
#   config/three-members.sh [DIRECTORY] [FLAGS for each member ...]
#
# The program is $CALLBOARD, else target/release/callboard, else callboard from the PATH.
set -eu

directory=${1:-three-members}
[ $# -gt 0 ] && shift

program=${CALLBOARD:-}
if [ -z "$program" ]; then
    program=$(dirname "$0")/../target/release/callboard
    [ -x "$program" ] || program=callboard
fi

cluster=n1=http://127.0.0.1:2380,n2=http://127.0.0.1:22380,n3=http://127.0.0.1:32380
pids=
# Told to stop, each member writes down what it accepted; the script waits for that.
trap 'trap - INT TERM; kill $pids 2>/dev/null; wait; exit 0' INT TERM

mkdir -p "$directory"
member() {
    name=$1 client=http://127.0.0.1:$2 peer=http://127.0.0.1:$3
    shift 3
    "$program" serve --name "$name" --data-dir "$directory/$name" \
        --listen-client-urls "$client" --advertise-client-urls "$client" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
        --initial-cluster "$cluster" --initial-cluster-token three-members \
        --initial-cluster-state new "$@" >>"$directory/$name.log" 2>&1 &
    pids="$pids $!"
    echo "$name: pid $!, clients at $client, log in $directory/$name.log"
}

member n1 2379 2380 "$@"
member n2 22379 22380 "$@"
member n3 32379 32380 "$@"
wait

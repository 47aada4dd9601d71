#!/usr/bin/env bash
# A real S3 server on loopback: single-node Ceph with its gateway, everything in FOLDER. Access key testkey, secret testsecret.
#   s3.sh start FOLDER PORT MON_PORT [memstore|bluestore]   about 15 s the first time, 5 s on a folder that was stopped
#   s3.sh gateway FOLDER                                    start the gateway alone, after it alone was stopped or killed
#   s3.sh stop FOLDER                                       gateway, storage, monitor, in this order
# PORT answers S3, MON_PORT and the one above it are Ceph's own. memstore (the default) keeps objects in memory, at most 2 GiB,
# and cannot be started again once stopped; bluestore keeps them in FOLDER. Needs the programs that install.sh installs.
set -euo pipefail

programs=(ceph-mon ceph-osd radosgw)

write_configuration() {
    local folder=$1 port=$2 mon=$3 kind=$4
    mkdir -p "$folder"/{mon,osd,rgw,run,log}
    # cephx and not `auth = none`: without it radosgw-admin does not find the cluster. Small pools, one copy, one thread per
    # shard: a test's server, not a store. tcp_nodelay: each answer would wait 40 ms. client watch: new buckets would wait 30 s for
    # a gateway that was killed.
    cat >"$folder/ceph.conf" <<CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$mon/0,v1:127.0.0.1:$((mon + 1))/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $folder/keyring
auth allow insecure global id reclaim = false
run dir = $folder/run
log file = $folder/log/\$name.log
admin socket =
pid file = $folder/run/\$name.pid
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon warn on pool no redundancy = false
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 2
[mon]
mon data = $folder/mon
[osd]
osd data = $folder/osd
osd objectstore = $kind
memstore device bytes = 2147483648
bluestore block size = 4294967296
bluestore fsck on mount = false
osd memory target = 939524096
osd op num threads per shard = 1
osd op num shards = 2
osd client watch timeout = 2
[client.rgw]
keyring = $folder/keyring
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw data = $folder/rgw
rgw thread pool size = 32
rgw enable usage log = false
rgw enable ops log = false
rgw dns name = localhost
CONF
}

make_cluster() {
    local folder=$1 mon=$2 fsid osd_uuid
    fsid=$(awk '/^fsid/ {print $3}' "$folder/ceph.conf")
    ceph-authtool --create-keyring "$folder/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
    ceph-authtool "$folder/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' >/dev/null
    monmaptool --create --clobber --fsid "$fsid" \
        --addv a "[v2:127.0.0.1:$mon/0,v1:127.0.0.1:$((mon + 1))/0]" "$folder/monmap" >/dev/null
    ceph-mon --mkfs -i a --monmap "$folder/monmap" --keyring "$folder/keyring"
    ceph-mon -i a
    osd_uuid=$(cat /proc/sys/kernel/random/uuid)
    ceph osd new "$osd_uuid" >/dev/null
    ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *' >>"$folder/keyring"
    ceph auth get-or-create client.rgw mon 'allow rw' osd 'allow rwx' >>"$folder/keyring"
    ceph-osd -i 0 --mkfs --osd-uuid "$osd_uuid" >/dev/null 2>&1
    ceph-osd -i 0 >/dev/null
    ceph osd crush add osd.0 1.0 root=default host=h1 >/dev/null 2>&1
    until_storage_is_up
    radosgw-admin -n client.rgw user create --uid=test --display-name=test --access-key=testkey --secret-key=testsecret >/dev/null
}

until_storage_is_up() {
    for _ in $(seq 300); do
        if ceph osd stat 2>/dev/null | grep -q '1 up'; then return; fi
        sleep 0.1
    done
    echo "the storage did not come up; see $CEPH_CONF's log folder" >&2
    return 1
}

start_gateway() {
    local folder=$1 port
    port=$(sed -n 's/.*endpoint=127.0.0.1:\([0-9]*\).*/\1/p' "$folder/ceph.conf")
    radosgw -n client.rgw
    for _ in $(seq 600); do
        if curl --silent --noproxy '*' --output /dev/null "http://127.0.0.1:$port"; then return; fi
        sleep 0.05
    done
    echo "the gateway did not answer on port $port; see $folder/log" >&2
    return 1
}

start() {
    local folder=$1 port=$2 mon=$3 kind=${4:-memstore}
    for program in "${programs[@]}"; do
        command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
    done
    export CEPH_CONF=$folder/ceph.conf
    if [ -e "$CEPH_CONF" ]; then
        ceph-mon -i a
        ceph-osd -i 0 >/dev/null
        until_storage_is_up
    else
        write_configuration "$folder" "$port" "$mon" "$kind"
        make_cluster "$folder" "$mon"
    fi
    start_gateway "$folder"
}

stop() {
    local folder=$1 name file pid
    for name in client.rgw osd.0 mon.a; do
        file=$folder/run/$name.pid
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill -CONT "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
}

action=${1:?start, gateway or stop}
shift
case $action in
start) start "$@" ;;
gateway) CEPH_CONF=$1/ceph.conf; export CEPH_CONF; start_gateway "$1" ;;
stop) stop "$1" ;;
*) echo "no such action: $action" >&2; exit 2 ;;
esac

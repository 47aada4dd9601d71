#!/usr/bin/env bash
# Install the programs of the S3 server that tests start (Ceph, from the distribution's packages). Where that is not possible it
# says why and what will be skipped, and succeeds: the tests that need the server say so too.
set -u

missing=()
for program in ceph-mon ceph-osd radosgw; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "S3: Ceph is installed ($(radosgw --version | cut -d' ' -f3))"
    exit 0
fi

skipped() {
    echo "S3: tests marked s3 will be skipped: $1 (missing: ${missing[*]})"
    exit 0
}

[ -z "${DAPPLE_TEST_S3_ENDPOINT:-}" ] || { echo "S3: tests use $DAPPLE_TEST_S3_ENDPOINT"; exit 0; }
command -v apt-get >/dev/null || skipped "this system has no apt-get"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || skipped "only root can install packages here"
    as_root=(sudo -n)
fi
log=$(mktemp)
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd)
if ! { timeout 120 "${as_root[@]}" apt-get update && timeout 600 "${install[@]}"; } >"$log" 2>&1; then
    skipped "apt-get failed: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
fi
rm -f "$log"
echo "S3: installed Ceph ($(radosgw --version | cut -d' ' -f3))"

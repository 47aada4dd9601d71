#!/usr/bin/env bash
# Starts what the distributed tests talk to, if it is installed and does not answer yet: PostgreSQL, Redis, RabbitMQ.
# The tests start an object store of their own. What cannot be started is named, and its tests are skipped.
set -u

answers() { timeout 5 bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null; }

wait_for() {  # NAME PORT
    for _ in $(seq 60); do
        answers "$2" && { echo "== $1 answers on port $2"; return; }
        sleep 0.5
    done
    echo "== $1 does not answer on port $2: its tests will be skipped"
}

start() {  # NAME PORT COMMAND...
    local name=$1 port=$2
    shift 2
    if ! answers "$port"; then
        if ! command -v "$1" >/dev/null; then
            echo "== $name is not installed: its tests will be skipped"
            return
        fi
        "$@" >/dev/null 2>&1 || true
    fi
    wait_for "$name" "$port"
}

start PostgreSQL 5432 pg_ctlcluster --skip-systemctl-redirect "$(ls /etc/postgresql 2>/dev/null | sort -n | tail -1)" main start
start Redis 6379 redis-server --daemonize yes --bind 127.0.0.1 -::1 --port 6379 --save "" --appendonly no
start RabbitMQ 5672 rabbitmq-server -detached

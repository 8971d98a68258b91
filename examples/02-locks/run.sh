#!/bin/sh
# Takes locks by `curl`, and shows whom they keep out. Needs a running node.
set -eu

url=${LOCKPORT_URL:-http://127.0.0.1:3000}
locks=${LOCKPORT_LOCK_URL:-http://127.0.0.1:50051}

# Sends a request to the base in $1 and prints what is asked, the status and
# the body.
send() {
    base=$1 method=$2 path=$3
    shift 3
    reply=$(curl --silent --show-error --request "$method" "$base$path" \
        --write-out '\n%{http_code}' "$@")
    status=$(printf '%s\n' "$reply" | tail -n 1)
    body=$(printf '%s\n' "$reply" | sed '$d')
    printf '> %s %s\n%s%s\n\n' "$method" "$path" "$status" "${body:+ $body}"
}

# Asks the lock API, with a body of JSON if there is one.
lock() {
    method=$1 path=$2
    shift 2
    if [ $# -gt 0 ]; then
        set -- --header 'content-type: application/json' --data "$1"
    fi
    send "$locks" "$method" "$path" "$@"
}

# The first member of this name in the last body.
member() {
    printf '%s\n' "$body" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

# Somebody watches from now on; the script goes on when that has begun.
watched=$(mktemp)
curl --silent --no-buffer --max-time 60 "$locks/v1/locks:watch?prefix=report/" >"$watched" &
watcher=$!
trap 'kill $watcher 2>/dev/null; rm -f "$watched"' EXIT
until grep --quiet progress "$watched"; do
    kill -0 $watcher
    sleep 0.05
done

# Another run is another request: the id of one that has ended is remembered.
request=$(od -An -N8 -tx1 /dev/urandom | tr -d ' ')
asked="{\"names\": [\"report/daily\"], \"lease\": \"20s\",
    \"holder\": \"nightly job\", \"requestId\": \"$request\"}"

echo '# A nightly job takes a lock for twenty seconds.'
lock POST /v1/locks:acquire "$asked"
grant=$(member id)

echo '# Its answer was lost? The same request is answered with the same grant.'
lock POST /v1/locks:acquire "$asked"

echo '# Another job does not get it.'
lock POST /v1/locks:acquire '{"names": ["report/daily"], "holder": "another job"}'

echo '# It needs longer: a minute from now.'
lock POST /v1/locks:renew "{\"grant\": \"$grant\", \"lease\": \"60s\"}"

echo '# Anybody may look. The grant is a secret and not shown.'
lock GET /v1/locks/report/daily

echo '# It is done. Saying so twice does no harm.'
lock POST /v1/locks:release "{\"grant\": \"$grant\"}"
lock POST /v1/locks:release "{\"grant\": \"$grant\"}"

echo '# What came too late is told so.'
lock POST /v1/locks:renew "{\"grant\": \"$grant\"}"

echo '# A client of the older contract takes the same lock, and keeps others out.'
lock POST /api/v1/locks/report%2Fdaily
token=$(member token)
lock POST /v1/locks:acquire '{"names": ["report/daily"]}'
lock DELETE "/api/v1/locks/report%2Fdaily?token=$token"
lock DELETE "/api/v1/locks/report%2Fdaily?token=$token"

echo '# A service takes the lock of an order: meanwhile nobody changes the order.'
send "$url" POST /orders --header 'content-type: application/json' --data '{
    "user_id": "6f1d3c1e-6a52-4b0a-9a39-0a6a7a3d8f10",
    "item_id": "c2a6f3a4-27f5-4f6b-8a55-5c1a2b7e9d02",
    "quantity": 3,
    "value": 12.5
}'
order=$(member id)
lock POST /v1/locks:acquire "{\"names\": [\"order/$order\"], \"holder\": \"a service\"}"
grant=$(member id)
change='{"update_time": "2040-01-01T12:00:00Z", "quantity": 4}'
send "$url" PATCH "/orders/$order" --header 'content-type: application/json' --data "$change"
lock POST /v1/locks:release "{\"grant\": \"$grant\"}"
send "$url" PATCH "/orders/$order" --header 'content-type: application/json' --data "$change"

echo '# What the watcher was told.'
until [ "$(grep --count 'KIND_RELEASED' "$watched")" -eq 2 ]; do
    kill -0 $watcher
    sleep 0.05
done
grep '^data: {"event":' "$watched"

#!/bin/sh
# Walks through the life of an order. Needs a running node and `curl`.
set -eu

url=${LOCKPORT_URL:-http://127.0.0.1:3000}

# Sends a request and prints what is asked, the status and the body.
ask() {
    method=$1 path=$2
    shift 2
    reply=$(curl --silent --show-error --request "$method" "$url$path" \
        --write-out '\n%{http_code}' "$@")
    status=$(printf '%s\n' "$reply" | tail -n 1)
    body=$(printf '%s\n' "$reply" | sed '$d')
    printf '> %s %s\n%s%s\n\n' "$method" "$path" "$status" "${body:+ $body}"
}

# The value of a member of the last body.
member() {
    printf '%s\n' "$body" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

echo '# An order of 3 at 12.50 each; its invoice is created with it.'
ask POST /orders --header 'content-type: application/json' --data '{
    "user_id": "6f1d3c1e-6a52-4b0a-9a39-0a6a7a3d8f10",
    "item_id": "c2a6f3a4-27f5-4f6b-8a55-5c1a2b7e9d02",
    "quantity": 3,
    "value": 12.5
}'
order=$(member id)
ask GET "/orders/$order"
invoice=$(member invoice_id)
ask GET "/invoices/$invoice"

echo '# Another quantity: the order and the invoice change in one commit.'
ask PATCH "/orders/$order" --header 'content-type: application/json' \
    --data '{"update_time": "2040-01-01T12:00:00Z", "quantity": 4}'
ask GET "/invoices/$invoice"

echo '# A change that is older than the latest one is refused.'
ask PATCH "/orders/$order" --header 'content-type: application/json' \
    --data '{"update_time": "2040-01-01T11:00:00Z", "quantity": 9}'

echo '# Nobody changes an invoice without holding its lock.'
ask PATCH "/invoices/$invoice" --header 'content-type: application/json' \
    --data '{"total": 1}'

echo '# Deleting the order deletes the invoice.'
ask DELETE "/orders/$order"
ask GET "/orders/$order"
ask GET "/invoices/$invoice"

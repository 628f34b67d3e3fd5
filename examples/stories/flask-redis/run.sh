#!/bin/sh
# A page that counts its visitors in Redis and shows its host name.
set -eu
cd "$(dirname "$0")"
: "${DUNNAGE:=dunnage}"

page() { # asks until there is an answer
    for _ in $(seq 200); do
        curl -sf --max-time 5 "http://127.0.0.1:$1/" && return
        sleep 0.1
    done
    echo "no answer at port $1" >&2
    return 1
}

echo "== by hand: an image, two containers, a link"
$DUNNAGE build -q -t flask-app .
$DUNNAGE run -d --name redis debian redis-server --bind 0.0.0.0 --protected-mode no --save ""
$DUNNAGE run -d --name web --link redis -e REDIS_HOST=redis -p 5000:5000 flask-app
page 5000
for hits in 2 3; do
    page 5000 | tee /dev/stderr | grep -q ": $hits hits"
done
$DUNNAGE rm -f -v web redis

echo "== by Compose: four of them behind HAProxy, which finds them by the engine's socket"
$DUNNAGE daemon &
daemon=$!
trap 'kill $daemon 2> /dev/null; $DUNNAGE compose -p story down -t 1 > /dev/null 2>&1 || true' EXIT
for _ in $(seq 100); do
    [ -S "$DOCKER_SOCKET" ] && break
    sleep 0.05
done
$DUNNAGE compose -p story up -d --build --scale web=4
page 8080 > /dev/null
names=
for _ in $(seq 200); do # until all four are up, for HAProxy asks them first
    names=$(printf '%s\n%s\n' "$names" "$(page 8080 | sed 's/.*from \([0-9a-f]*\).*/\1/')" | grep . | sort -u)
    [ "$(echo "$names" | wc -l)" -eq 4 ] && break
    sleep 0.05
done
echo "$names"
[ "$(echo "$names" | wc -l)" -eq 4 ] || { echo "not four host names" >&2; exit 1; }
$DUNNAGE compose -p story ps
$DUNNAGE compose -p story down -t 1
[ -z "$($DUNNAGE ps -aq)" ]

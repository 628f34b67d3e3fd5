#!/bin/sh
# A private registry in a container: push to it, remove, pull again.
set -eu
: "${DUNNAGE:=dunnage}"

kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
cat > "$kept/config.yml" << END
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: ':5000'}
END
$DUNNAGE run -d --name registry --restart=always -p 5000:5000 -v "$kept:/var/lib/registry" \
    debian docker-registry serve /var/lib/registry/config.yml
for _ in $(seq 200); do
    curl -sf --max-time 5 http://127.0.0.1:5000/v2/ > /dev/null && break
    sleep 0.1
done
printf 'FROM scratch\nCOPY note /\nCMD ["/note"]\n' > "$kept/Dockerfile"
echo "a small image" > "$kept/note"
$DUNNAGE build -q -t 127.0.0.1:5000/team/note:1 "$kept"
$DUNNAGE push 127.0.0.1:5000/team/note:1
$DUNNAGE rmi 127.0.0.1:5000/team/note:1
# it comes back after it was killed, with what it had
$DUNNAGE exec registry sh -c 'kill -9 1' || true
for _ in $(seq 200); do
    curl -sf --max-time 5 http://127.0.0.1:5000/v2/_catalog && break
    sleep 0.1
done
$DUNNAGE pull 127.0.0.1:5000/team/note:1
$DUNNAGE create --name copy 127.0.0.1:5000/team/note:1
[ "$($DUNNAGE cp copy:/note - | tar -xO)" = "a small image" ]
$DUNNAGE rm copy
$DUNNAGE rm -f registry

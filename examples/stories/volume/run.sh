#!/bin/sh
# A database container is removed and made anew on the same volume; the rows are there.
set -eu
: "${DUNNAGE:=dunnage}"

postgres='set -e
    bin=$(echo /usr/lib/postgresql/*/bin)
    chown postgres /data
    [ -e /data/PG_VERSION ] || su postgres -c "$bin/initdb -D /data" > /dev/null
    exec su postgres -c "exec $bin/postgres -D /data -k /tmp"'
sql() { # asks until the database answers
    for _ in $(seq 200); do
        $DUNNAGE exec -u postgres db psql -h /tmp -At -c "$1" 2> /dev/null && return
        sleep 0.1
    done
    $DUNNAGE logs db >&2
    return 1
}

$DUNNAGE volume create rows
$DUNNAGE run -d --name db --stop-timeout 20 -v rows:/data debian sh -c "$postgres"
sql "create table notes (text varchar)" > /dev/null
sql "insert into notes values ('still here')"
$DUNNAGE stop db
$DUNNAGE rm db
$DUNNAGE run -d --name db --stop-timeout 20 -v rows:/data debian sh -c "$postgres"
[ "$(sql "select text from notes" | tee /dev/stderr)" = "still here" ]
$DUNNAGE rm -f db
$DUNNAGE volume rm rows

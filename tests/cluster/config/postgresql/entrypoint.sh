#!/bin/sh
# Make the database where there is none, and serve it to the network.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	umask 077
	echo "$POSTGRES_PASSWORD" >/tmp/password
	initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --encoding=UTF8 --auth=scram-sha-256 --pgdata="$PGDATA" --no-sync
	rm /tmp/password
	echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
	echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres
fi
exec postgres -D "$PGDATA" -c "listen_addresses=*"

#!/bin/sh
# The server programs that integration tests start privately, under a temporary folder. No cluster is made and
# no service started; a machine that has them already is left as it is.
set -eu
for initdb in /usr/lib/postgresql/*/bin/initdb; do
    [ -x "$initdb" ] && exit 0
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: please install PostgreSQL's server programs (initdb, postgres), then run make again." >&2
    exit 1
fi
echo "setup: installing postgresql with apt-get, without a cluster" >&2
mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/dbops.conf
apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql >/dev/null

#!/bin/sh
# The programs that integration tests use on this machine: PostgreSQL's and MariaDB's servers, started privately under a
# temporary folder, and restic with SFTP's server. No cluster is made and no service started; a machine that has them already is
# left as it is.
set -eu
need=""
has_initdb() { for initdb in /usr/lib/postgresql/*/bin/initdb; do [ -x "$initdb" ] && return 0; done; return 1; }
has_initdb || need="$need postgresql"
command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || need="$need mariadb-server"
command -v mariadb-backup >/dev/null || need="$need mariadb-backup"
command -v restic >/dev/null || need="$need restic"
[ -x /usr/lib/openssh/sftp-server ] || need="$need openssh-sftp-server"
[ -n "$need" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: please install$need, then run make again." >&2
    exit 1
fi
echo "setup: installing$need with apt-get, without a cluster" >&2
mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/dbops.conf
apt-get update -q >/dev/null
# Debian starts MariaDB when it is installed, unless a policy forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $need >/dev/null

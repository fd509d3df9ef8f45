#!/bin/sh
# The programs that integration tests use on this machine: the servers, started privately under a temporary folder, and
# restic with SFTP's server. No cluster is made and no service started; what the machine has already is left as it is.
set -eu
need=""
want() { command -v "$1" >/dev/null || [ -x "$1" ] || need="$need $2"; }
has_initdb() { for initdb in /usr/lib/postgresql/*/bin/initdb; do [ -x "$initdb" ] && return 0; done; return 1; }
has_initdb || need="$need postgresql"
want restic restic
want /usr/lib/openssh/sftp-server openssh-sftp-server
want zstd zstd
want /usr/bin/bwrap bubblewrap
want redis-server "redis-server redis-tools"
want mariadbd "mariadb-server mariadb-client"
want mariadb-backup mariadb-backup
[ -n "$need" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: please install$need, then run make again." >&2
    exit 1
fi
echo "setup: installing$need with apt-get, without a service" >&2
mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/dbops.conf
policy=/usr/sbin/policy-rc.d # what packages ask before they start a service
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -q >/dev/null
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $need >/dev/null

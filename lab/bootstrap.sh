#!/bin/sh
# Make .venv with everything the controller needs. Installs Python's venv module with apt when absent.
set -eu
cd "$(dirname "$0")/.."
usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
need=""
command -v ssh >/dev/null || need="$need openssh-client"
python=""
for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && usable "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || need="$need python3 python3-venv"
if [ -n "$need" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "setup: please install$need (Python 3.11 or newer with venv), then run make again." >&2
        exit 1
    fi
    echo "setup: installing$need with apt-get" >&2
    apt-get update -q >/dev/null
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $need >/dev/null
    [ -n "$python" ] || python=/usr/bin/python3
fi
echo "setup: making .venv with $($python --version) (about a minute)" >&2
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[control,dev,fast]'
touch .venv/.stamp

#!/usr/bin/env bash
# Makes the secrets that deploy/compose.yaml mounts, once; what exists is kept.
set -euo pipefail
cd "$(dirname "$0")"

# Only the owner can enter the folder; the files are readable because the container's user is another one.
mkdir -p secrets
chmod 0700 secrets
umask 0133

make_once() { # file, generator and its arguments
    local file=secrets/$1
    shift
    [ -s "$file" ] || "$@" >"$file"
}

random_base64() { head -c 32 /dev/urandom | base64; }
random_hex() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

make_once portcullis_key random_base64
make_once postgres_password random_hex

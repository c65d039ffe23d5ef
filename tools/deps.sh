#!/bin/sh
# Installs the Debian packages of packages.txt that are missing: as root or through sudo, else says what to install.
#   tools/deps.sh [--check] [GROUP...]    groups: build run demo test static interop (default: the first four); --check only reports
set -eu
cd "$(dirname "$0")/.."

check=no
if [ "${1-}" = --check ]; then
    check=yes
    shift
fi
groups=" ${*:-build run demo test} "

wanted=$(awk -v groups="$groups" '
    /^\[/ { name = substr($1, 2, length($1) - 2); on = index(groups, " " name " ") }
    on && /^[a-z0-9]/ { print $1 }' packages.txt | sort -u)

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not Debian; install the equivalents of:" $wanted >&2
    exit 1
fi
# shellcheck disable=SC2086 # a list of words
present=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p' | sort -u)
missing=$(printf '%s\n' "$wanted" | grep -vxF "$present" | tr '\n' ' ' || true)
missing=${missing% }

[ -n "$missing" ] || exit 0
if [ "$check" = yes ]; then
    echo "missing Debian packages: $missing" >&2
    echo "install them with: make deps" >&2
    exit 1
fi

if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    sudo=sudo
else
    echo "deps: not root and no sudo. As root, run:" >&2
    echo "  apt-get install --no-install-recommends $missing" >&2
    exit 1
fi

echo "installing: $missing"
install() {
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 $missing </dev/null >"$log" 2>&1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists may be absent (fresh container) or old: then update them and try again.
if ! install; then
    $sudo apt-get update -qq </dev/null >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    install || { tail -n 20 "$log" >&2; exit 1; }
fi

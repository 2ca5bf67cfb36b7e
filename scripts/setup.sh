#!/usr/bin/env bash
# Sets up what is missing, and nothing twice. Used by ./try, ./test and .ci/run.
#
#   scripts/setup.sh run       the product in .venv: what one `pip install` would give
#   scripts/setup.sh registry  busybox to make an image of, for ./try where Docker Hub is out of reach
#   scripts/setup.sh dev       also what the tests need: test libraries, busybox, a registry, nftables, a browser
#   scripts/setup.sh peers     also real Docker, to compare with
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
want=${1:-run}

need_packages() { # PROGRAM:PACKAGE …: install the packages whose program is missing
  local missing=
  for pair in "$@"; do
    [ -e "${pair%%:*}" ] || command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
  done
  [ -z "$missing" ] && return
  echo "setup: installing$missing"
  apt-get update -qq
  # No service is started by installing it: the tests start what they need, on ports of their own.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.onggi && chmod +x /usr/sbin/policy-rc.d.onggi
  [ -e /usr/sbin/policy-rc.d ] || { ln -s policy-rc.d.onggi /usr/sbin/policy-rc.d; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  rm -f /usr/sbin/policy-rc.d.onggi
}

install_python() { # REQUIREMENTS: into .venv, unless just that was installed before
  local stamp=.venv/.installed sum
  sum=$(cat "$@" pyproject.toml | sha256sum | cut -d' ' -f1)
  [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] && return
  echo "setup: installing Python packages into .venv"
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
  local arguments=
  for file in "$@"; do arguments="$arguments -r $file"; done
  # shellcheck disable=SC2086
  .venv/bin/pip install -q --disable-pip-version-check $arguments
  # The checkout itself is what runs: an import path, and the commands as links beside the interpreter.
  local site
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  rm -rf "$site"/onggi "$site"/onggi-*.dist-info
  ln -sfn "$PWD/src/onggi" "$site/onggi"
  for command in onggi onggi-runtime docker-credential-onggi; do ln -sfn "$PWD/scripts/$command" ".venv/bin/$command"; done
  echo "$sum" >"$stamp"
}

[ "$(id -u)" = 0 ] || { echo "setup: root is needed to install packages and to run containers: use sudo" >&2; exit 1; }
case $want in
run)
  need_packages /usr/bin/python3:python3 /usr/lib/python3.11/ensurepip:python3-venv nft:nftables
  [ -e .venv/.installed ] || install_python requirements/run.txt
  ;;
registry) need_packages /bin/busybox:busybox-static ;;
dev | peers)
  need_packages /usr/bin/python3:python3 /usr/lib/python3.11/ensurepip:python3-venv nft:nftables ip:iproute2 \
    /bin/busybox:busybox-static docker-registry:docker-registry curl:curl pgrep:procps setfattr:attr umoci:umoci \
    runc:runc crun:crun tini-static:tini /usr/share/doc/postgresql:postgresql nginx:nginx-light \
    /usr/share/doc/mmdebstrap:mmdebstrap gnome-keyring-daemon:gnome-keyring dbus-daemon:dbus-daemon gdbus:libglib2.0-bin \
    swtpm:swtpm tpm2_unseal:tpm2-tools tpm2-abrmd:tpm2-abrmd \
    /usr/share/doc/libtss2-tcti-tabrmd0:libtss2-tcti-tabrmd0
  install_python requirements/dev.txt
  [ "$want" = dev ] || scripts/peers.sh build
  ;;
*)
  echo "usage: scripts/setup.sh run|registry|dev|peers" >&2
  exit 64
  ;;
esac

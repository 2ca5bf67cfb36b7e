#!/usr/bin/env bash
# Real Docker beside Onggi, to compare with: the newest dockerd, runc, containerd, skopeo, buildah and their kin from
# Debian's own packages, in a root of their own so that nothing of this machine is replaced.
#
#   scripts/peers.sh build            make the root (once; about a minute, 0.7 GB)
#   scripts/peers.sh start            start dockerd in it; prints its socket
#   scripts/peers.sh run COMMAND …    run a command in that root
#   scripts/peers.sh stop             stop dockerd, unmount
#
# The root is $ONGGI_PEERS, else /var/cache/onggi-peers. Programs enter it by pivot_root in a mount namespace of their
# own: under a plain chroot runc would join the wrong root.
set -eu
root=${ONGGI_PEERS:-/var/cache/onggi-peers}
packages=docker.io,docker-cli,docker-compose,containerd,runc,crun,skopeo,umoci,buildah,netavark,docker-registry
packages=$packages,iptables,nftables,iproute2,ca-certificates,busybox-static,procps,kmod,xz-utils,e2fsprogs,podman,oras,cosign,notation
self=$(readlink -f "$0")
state=$root/run/peer # beneath the root's tmpfs: gone with it

mounted() { mountpoint -q "$1"; }

case ${1:-} in
build)
  [ "$(cat "$root/.complete" 2>/dev/null)" = "$packages" ] && exit 0
  "$self" stop
  command -v mmdebstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq mmdebstrap >/dev/null; }
  rm -rf "$root"
  # A mirror may lag behind; signatures are checked all the same.
  mmdebstrap --quiet --aptopt='Acquire::Check-Valid-Until "false"' --variant=minbase --include="$packages" sid "$root" http://deb.debian.org/debian
  echo "$packages" >"$root/.complete"
  ;;
mount)
  mounted "$root" || { mount --bind "$root" "$root"; mount --make-private "$root"; }
  mounted "$root/proc" || mount -t proc proc "$root/proc"
  for directory in sys dev; do
    mounted "$root/$directory" || { mount --rbind "/$directory" "$root/$directory"; mount --make-rslave "$root/$directory"; }
  done
  for directory in run tmp; do mounted "$root/$directory" || mount -t tmpfs tmpfs "$root/$directory"; done
  mkdir -p "$state"
  ;;
start)
  "$self" mount
  if [ -S "$state/docker.sock" ] && curl -fs --unix-socket "$state/docker.sock" http://d/_ping >/dev/null; then
    echo "$state/docker.sock"
    exit 0
  fi
  setsid "$self" run dockerd -H unix:///run/peer/docker.sock --data-root /var/lib/docker --exec-root /run/peer/exec \
    --pidfile /run/peer/docker.pid --insecure-registry 127.0.0.0/8 \
    >"$state/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 300); do
    curl -fs --unix-socket "$state/docker.sock" http://d/_ping >/dev/null 2>&1 && { echo "$state/docker.sock"; exit 0; }
    sleep 0.1 # dockerd offers no event to wait for
  done
  echo "dockerd did not start: see $state/dockerd.log" >&2
  exit 1
  ;;
run)
  shift
  exec unshare -m --propagation slave bash -c \
    'root=$1; shift; mount --rbind "$root" "$root"; cd "$root"; mkdir -p .old; pivot_root . .old; cd /; umount -l /.old
     exec "$@"' enter "$root" "$@"
  ;;
stop)
  for name in dockerd containerd; do
    for pid in $(pgrep -x "$name" || true); do
      # Ours are those whose root is our root: this machine's own Docker is left alone.
      [ "$(stat -Lc %d:%i "/proc/$pid/root" 2>/dev/null)" = "$(stat -Lc %d:%i "$root")" ] && kill "$pid"
    done
  done
  for _ in $(seq 100); do
    left=
    for pid in $(pidof dockerd containerd || true); do
      [ "$(stat -Lc %d:%i "/proc/$pid/root" 2>/dev/null)" = "$(stat -Lc %d:%i "$root")" ] && left=1
    done
    [ -z "$left" ] && break
    sleep 0.1
  done
  ip link delete docker0 2>/dev/null || true
  for directory in tmp run dev sys proc ''; do
    mounted "$root/$directory" && umount -R -l "$root/$directory"
  done
  true
  ;;
*)
  sed -n '2,12p' "$self" | cut -c3-
  exit 64
  ;;
esac

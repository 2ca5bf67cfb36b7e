#!/usr/bin/env bash
# Another machine to test on: Debian's own kernel under QEMU, with cgroup v2 alone and with AppArmor, which the machine
# of the tests may have neither of. It boots in seconds into this machine's own files (read-only, by virtiofs, with what
# the guest writes kept in its memory), so that there is no image to make. Emulated: no KVM is needed.
#
#   scripts/vm.sh build            fetch QEMU and the kernel (once; 100 MB)
#   scripts/vm.sh run COMMAND …    run a command there, in this directory; its output and exit status are the command's
#
# ONGGI_VM names the directory of kernel and modules, else /var/cache/onggi-vm; ONGGI_VM_MEMORY the guest's MiB, else 3000.
set -eu
home=${ONGGI_VM:-/var/cache/onggi-vm}
memory=${ONGGI_VM_MEMORY:-3000}

build() {
  [ -e "$home/.complete" ] && command -v qemu-system-x86_64 >/dev/null && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-system-x86 busybox-static >/dev/null
  rm -rf "$home"
  mkdir -p "$home/initramfs/bin"
  local package
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
  (cd "$home" && apt-get download -qq -o APT::Sandbox::User=root "$package" apparmor)
  dpkg-deb -x "$home/$package"_*.deb "$home"
  dpkg-deb -x "$home"/apparmor_*.deb "$home/apparmor"
  rm "$home"/*.deb
  version=${package#linux-image-}
  busybox depmod -b "$home" "$version"
  initramfs "$home/lib/modules/$version"
  touch "$home/.complete"
}

initramfs() { # MODULES: what mounts this machine's root, no more
  local module line
  cp "$(command -v busybox)" "$home/initramfs/bin/busybox"
  : >"$home/initramfs/modules"
  for module in virtiofs virtio_pci overlay; do
    line=$(grep "/$module.ko:" "$1/modules.dep")
    for file in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
      cp "$1/$file" "$home/initramfs/"
      grep -qx "${file##*/}" "$home/initramfs/modules" || echo "${file##*/}" >>"$home/initramfs/modules"
    done
  done
  cat >"$home/initramfs/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /lower /written /new
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/$module"; done </modules
mount -t virtiofs -o ro host /lower
mount -t tmpfs -o size=80% written /written
mkdir /written/upper /written/work /written/tmp
mount -t overlay -o lowerdir=/lower,upperdir=/written/upper,workdir=/written/work root /new
for place in proc sys dev; do mount --move "/$place" "/new/$place"; done
mount -t tmpfs run /new/run
mount --bind /written/tmp /new/tmp
exec switch_root /new /bin/busybox sh "$machine/guest"
INIT
  chmod +x "$home/initramfs/init"
  (cd "$home/initramfs" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$home/initramfs.gz"
}

guest() { # COMMAND …: what the guest's first process does
  cat <<'GUEST'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /dev/pts /dev/shm /dev/mqueue /lib/modules
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t securityfs securityfs /sys/kernel/security
mount --bind "${machine%/run-*}/lib/modules" /lib/modules
for place in etc usr/share; do cp -a "${machine%/run-*}/apparmor/$place/." /$place/; done
[ -e /sbin/apparmor_parser ] || ln -s "${machine%/run-*}/apparmor/sbin/apparmor_parser" /sbin/
mkdir /run/bin
ln -s /bin/busybox /run/bin/modprobe # reads the modules.dep that its like has written
export PATH=/run/bin:$PATH
echo /run/bin/modprobe >/proc/sys/kernel/modprobe
# Loaded beforehand: what a first rule set or link would have to wait for.
for module in overlay bridge veth nf_tables nft_chain_nat nft_fib_inet nft_masq nft_ct nft_reject_inet; do modprobe $module; done
ip link set lo up
ulimit -n 1048576
stty -F /dev/ttyS1 raw
GUEST
  printf 'cd %q\nexport ONGGI_VM_GUEST=1 ONGGI_AUTOSTART=0 PYTHONDONTWRITEBYTECODE=1\n' "$PWD"
  printf '%q ' "$@"
  echo '</dev/null >/dev/ttyS1 2>&1; echo $? >/dev/ttyS2; poweroff -f'
}

run() { # COMMAND …
  local status
  machine=$(mktemp -d "$home/run-XXXXXX")
  trap 'kill $(cat "$machine/pids") 2>/dev/null || true; rm -rf "$machine"' EXIT
  guest "$@" >"$machine/guest"
  /usr/lib/qemu/virtiofsd --socket-path="$machine/files" -o source=/ -o cache=always -o sandbox=chroot -o xattr \
    >"$machine/virtiofsd.log" 2>&1 &
  echo $! >>"$machine/pids"
  for _ in $(seq 200); do
    [ -S "$machine/files" ] && break
    sleep 0.05 # it offers no event to wait for
  done
  qemu-system-x86_64 -M q35 -accel tcg,thread=multi -m "$memory" -smp 2 -display none -nodefaults -no-reboot \
    -object "memory-backend-memfd,id=memory,size=${memory}M,share=on" -numa node,memdev=memory \
    -chardev "socket,id=files,path=$machine/files" -device vhost-user-fs-pci,chardev=files,tag=host \
    -serial "file:$machine/console" -serial stdio -serial "file:$machine/status" \
    -kernel "$home"/boot/vmlinuz-* -initrd "$home/initramfs.gz" \
    -append "console=ttyS0 quiet panic=-1 no_timer_check machine=$machine" </dev/null &
  echo $! >>"$machine/pids"
  wait $! || true
  status=$(tr -cd '0-9' <"$machine/status")
  [ -n "$status" ] || { echo "the guest said nothing of its end; its console:" >&2; tail -n 30 "$machine/console" >&2; }
  exit "${status:-125}"
}

case ${1:-} in
build) build ;;
run)
  shift
  run "$@"
  ;;
*)
  echo "usage: scripts/vm.sh build|run COMMAND …" >&2
  exit 64
  ;;
esac

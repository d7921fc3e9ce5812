#!/bin/sh
# base.sh NAME: makes the base image NAME (Debian bookworm) where no registry of images can be reached.
#
#   apt-get update && apt-get install debootstrap docker.io docker-compose
#   bench/docker/base.sh replicator-base && BASE=replicator-base docker-compose build
#
# Needs root, and apt sources from which this machine itself could install bookworm. So that apt-get and pip work inside of
# `docker build` as they do here, the image gets this machine's apt sources, keys and acquire settings, its CA certificates and
# its pip configuration. Proxies and passwords may be among them: the image is for this machine, do not push it.
set -eu

name=${1:?usage: base.sh NAME}
# A mirror that hangs must not hang us. The second start, below timeout, is the one that works.
[ -n "${BASE_SH_BOUNDED:-}" ] || BASE_SH_BOUNDED=1 exec timeout 600 "$0" "$name"

tmp=$(mktemp -d)
# An interrupted debootstrap leaves /proc and /sys mounted below: never delete through them.
trap 'umount -R "$tmp"/root/* 2>/dev/null || :; rm -rf --one-file-system "$tmp"' EXIT
trap 'exit 1' HUP INT TERM # dash runs no EXIT trap when a signal ends it
root=$tmp/root

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' | head -n 1)
[ -n "$mirror" ] || { echo "no apt source has bookworm: is it in /etc/apt, and has apt-get update been run?" >&2; exit 1; }
debootstrap --variant=minbase bookworm "$root" "$mirror" >"$tmp/log" || { tail -n 20 "$tmp/log" >&2; exit 1; }

# Copies what exists, to where it was.
carry() {
  for path; do
    [ -e "$path" ] || continue
    mkdir -p "$root$(dirname "$path")"
    cp -RL "$path" "$root$(dirname "$path")/"
  done
}
rm "$root/etc/apt/sources.list" # debootstrap's own
carry /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d /etc/apt/keyrings \
  /usr/share/keyrings /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates \
  /etc/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf
# Not apt.conf.d itself: its hooks call programs that the image lacks.
apt-config dump | grep '^Acquire::' >"$root/etc/apt/apt.conf.d/99machine"
# As in Debian's own images: an installation keeps no packages, and starts no services.
echo 'APT::Keep-Downloaded-Packages "false";' >"$root/etc/apt/apt.conf.d/90small"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/*

set -- --change 'CMD ["bash"]'
for key in $(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do
  set -- "$@" --change "ENV $key=\"$(printenv "$key")\""
done
tar -C "$root" -cf "$tmp/root.tar" .
docker import "$@" "$tmp/root.tar" "$name"

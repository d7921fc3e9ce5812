#!/bin/sh
# Lets the backend in, tells it our host key, then becomes sshd.
set -eu
until [ -e /keys/id_ed25519.pub ]; do sleep 0.1; done
install -D -m 600 /keys/id_ed25519.pub /root/.ssh/authorized_keys

key=/etc/ssh/ssh_host_ed25519_key
[ -e $key ] || ssh-keygen -q -t ed25519 -N '' -f $key
address=$(hostname -i | cut -d ' ' -f 1)
type_and_key=$(cut -d ' ' -f 1,2 $key.pub)

# One file per address: whoever gets a used address replaces the key of the one before. Frontends themselves make
# known_hosts, under a lock and before sshd listens, so that the backend needs no loop that watches for new ones.
mkdir -p /keys/hosts
exec 9>/keys/lock
flock 9
echo "$address $type_and_key" >"/keys/hosts/$address"
cat /keys/hosts/* >/keys/known_hosts.new
mv /keys/known_hosts.new /keys/known_hosts
exec 9>&- # or sshd would hold the lock for ever

exec "$@"

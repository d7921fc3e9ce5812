#!/bin/bash
# A frontend: lets the backend in, publishes its host key, and serves what arrives. It has no CMS until the backend has filled it.
set -euo pipefail
source /usr/local/lib/web/web.sh

address=$(hostname -i | cut -d ' ' -f 1)
# Compose's DNS knows the container's name, such as PROJECT_frontend_2 or PROJECT-frontend-2, soon after its start; /etc/hosts does not.
for _ in $(seq 50); do
  number=$(getent -s dns hosts "$address" | sed -nE 's/.*frontend[-_]([0-9]+).*/\1/p' | head -n 1 || :)
  [ -z "$number" ] || break
  sleep 0.1
done
node=frontend-${number:-$(hostname)}

# A frontend refuses the admin's requests itself: whoever reaches it directly, or finds a spelling that the load balancer does not know.
mkdir -p /etc/nginx/node
if [ -e "/etc/nginx/routes/$CMS.conf" ]; then
  cp "/etc/nginx/routes/$CMS.conf" /etc/nginx/conf.d/routes.conf
  echo 'if ($replicator_refused) { return 403; }' >/etc/nginx/node/refuse.conf
fi
if [ -n "${SHARED:-}" ]; then
  ready=/handover/installed
else
  # The account that the backend uses owns the files, and PHP, in the same group, can read them and not write.
  install -d -o deploy -g www-data -m 2750 /var/www/html
  ready=/var/www/html/.replicator/ready

  until [ -e /handover/backend.pub ]; do sleep 0.1; done
  install -D -o deploy -m 600 /handover/backend.pub /home/deploy/.ssh/authorized_keys
  key=/etc/ssh/ssh_host_ed25519_key
  [ -e $key ] || ssh-keygen -q -t ed25519 -N '' -f $key
  mkdir -p /handover/hosts
  # One file for each address: a new machine at a used address replaces the key of the one before. The lock keeps frontends
  # that start at the same time from losing each other's line; it must not be inherited by what is started below.
  (
    flock 9
    echo "$address $(cut -d ' ' -f 1,2 $key.pub)" >"/handover/hosts/$address"
    cat /handover/hosts/* >/handover/known_hosts.new
    mv /handover/known_hosts.new /handover/known_hosts
  ) 9>/handover/lock
  /usr/sbin/sshd -D -e -o HostKey=$key -o PasswordAuthentication=no -o PermitRootLogin=no &
fi
web_start "$node" "$ready"

# A load balancer takes a machine out of service before it ends. Here the router does so when the ready file's location says 503,
# and requests that are under way finish.
drain() {
  touch /run/draining
  sleep "${DRAIN:-2}"
  nginx -s quit
  sleep 0.5
  exit 0
}
trap drain TERM INT
rm -f /run/draining
wait -n || :
echo "a daemon of $node has ended" >&2
exit 1

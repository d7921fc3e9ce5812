#!/bin/bash
# The backend: installs the CMS if there is none, then serves its pages and replicates its files.
set -euo pipefail
source /usr/local/lib/web/web.sh
root=/var/www/html

rm -f /handover/installed
# The key with which the backend logs in on frontends. They wait for the public half.
umask 077
[ -e /var/lib/replicator/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -C backend -f /var/lib/replicator/id_ed25519
umask 022
install -m 644 /var/lib/replicator/id_ed25519.pub /handover/backend.new
mv /handover/backend.new /handover/backend.pub

settings=/etc/replicator/replicator.toml
mkdir -p /etc/replicator
if [ -z "$APP" ] && [ -e "/usr/local/lib/backend/$CMS.sh" ]; then
  # shellcheck source=/dev/null
  source "/usr/local/lib/backend/$CMS.sh"
  mkdir -p $root
  chown www-data:www-data $root
  for _ in $(seq 240); do
    mariadb -h database -u cms -p"$(cat /secrets/database)" cms -e 'SELECT 1' >/dev/null 2>&1 && break
    sleep 0.25
  done
  install_cms $root
fi
preset=
! replicator preset show "$CMS" >/dev/null 2>&1 || preset="preset = \"$CMS\""
sed "s|@PRESET@|$preset|" /usr/local/lib/backend/replicator.toml >$settings

touch /handover/installed # for frontends that share the backend's volume
web_start backend /handover/installed
if [ -z "${SHARED:-}" ]; then
  replicator serve &
fi
# What WordPress does at times of its own. On a frontend it would be done by a visitor's request (DISABLE_WP_CRON says no).
if [ -e $root/wp-cron.php ]; then
  while sleep 60; do runuser -u www-data -- php $root/wp-cron.php || :; done &
fi
trap 'kill $(jobs -p); wait; exit 0' TERM INT
wait -n || :
echo "a daemon of the backend has ended" >&2
exit 1

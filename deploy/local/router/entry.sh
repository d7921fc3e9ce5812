#!/bin/bash
set -euo pipefail
if [ -e "/etc/nginx/routes/$CMS.conf" ]; then
  cp "/etc/nginx/routes/$CMS.conf" /etc/nginx/routes-in-use.conf
else
  echo 'map "" $replicator_upstream { default frontends; }' >/etc/nginx/routes-in-use.conf
fi
cp /usr/local/lib/router/nginx.conf /etc/nginx/nginx.conf
python3 -u /usr/local/lib/router/upstream.py --once
python3 -u /usr/local/lib/router/upstream.py &
nginx -g 'daemon off;' &
trap 'nginx -s quit; exit 0' TERM INT
wait -n || :
exit 1

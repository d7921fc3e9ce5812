#!/bin/bash
# First boot of a frontend: web server, PHP, and replicator's agent, pinned to the directory of the CMS. The template writes the
# variables in front of this text:
#   SITE          directory of the CMS              BACKEND       private address of the backend
#   PRESET        name of the CMS                   PUBLIC_KEY    the backend's key
#   PACKAGE_URL   address of replicator's wheel     CACHE_HOST    host of Redis
#   REGION        AWS region
#   FILE_SYSTEM   id of the EFS file system; empty: replicator carries the files
# Nothing else of the instance is needed from outside: it has no role and no secret. The log is /var/log/cloud-init-output.log.
set -euo pipefail

PHP_PACKAGES="php-fpm php-mysql php-redis php-gd php-xml php-mbstring php-curl php-intl php-zip"

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # shellcheck disable=SC2086 # one word for each package
  apt-get install -y -q --no-install-recommends nginx openssh-server sudo python3-venv nfs-common $PHP_PACKAGES
}

# The backend's key may run the agent for this directory, and nothing else. What says so belongs to root.
pin_agent() {
  local agent="/opt/replicator/bin/replicator agent --root $SITE --owner root:www-data"
  python3 -m venv /opt/replicator
  /opt/replicator/bin/pip install --quiet "replicator @ $PACKAGE_URL"
  id deploy >/dev/null 2>&1 || useradd --system --home-dir /nonexistent --shell /bin/sh deploy
  install -d -m 0755 /etc/ssh/authorized_keys
  authorized_key "$agent" >/etc/ssh/authorized_keys/deploy
  printf 'Match User deploy\n  AuthorizedKeysFile /etc/ssh/authorized_keys/%%u\n  AuthenticationMethods publickey\n' \
    >/etc/ssh/sshd_config.d/60-replicator.conf
  sudoers_line "$agent" >/etc/sudoers.d/replicator
  chmod 0440 /etc/sudoers.d/replicator
  visudo --check --quiet
  systemctl restart ssh
}

# Prints the line of authorized_keys.
authorized_key() {
  echo "restrict,from=\"$BACKEND\",command=\"sudo -n $1\" $PUBLIC_KEY"
}

# Prints the line of sudoers, in which a colon is escaped.
sudoers_line() {
  echo "deploy ALL=(root) NOPASSWD: ${1//:/\\:}"
}

# Prints the PHP settings that backend and frontends share.
php_settings() {
  cat <<END
session.save_handler = redis
session.save_path = "tcp://$CACHE_HOST:6379?timeout=1&read_timeout=2"
redis.session.locking_enabled = 1
redis.session.lock_retries = -1
redis.session.lock_expire = 30
opcache.validate_timestamps = 1
opcache.revalidate_freq = 0
END
}

# Prints nginx's site. What belongs to the backend is refused, whoever asks; the health check asks for the ready file.
site() {
  cat <<END
map \$http_x_forwarded_proto \$visitor_uses_tls { default ""; https on; }
server {
    listen 80 default_server;
    root $SITE;
    index index.php;
    if (\$replicator_refused) { return 403; }
    location = /replicator-ready {
        access_log off;
        default_type text/plain;
        alias $SITE/.replicator/ready;
    }
    location / { try_files \$uri \$uri/ /index.php\$is_args\$args; }
    location ~ /\\.(?!well-known) { return 404; }
    location ~ \\.php\$ {
        try_files \$uri =404;
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME \$realpath_root\$fastcgi_script_name;
        fastcgi_param HTTPS \$visitor_uses_tls if_not_empty;
        fastcgi_pass unix:/run/php/php-fpm.sock;
    }
}
END
}

configure_web_server() {
  local directory
  for directory in /etc/php/*/fpm/conf.d; do
    php_settings >"$directory/90-cms.ini"
  done
  /opt/replicator/bin/replicator preset show "$PRESET" --format nginx >/etc/nginx/conf.d/cms-routes.conf
  # The image may be one of a server with other sites, or with Apache.
  systemctl disable --now apache2 2>/dev/null || true
  rm -f /etc/nginx/sites-enabled/*
  site >/etc/nginx/sites-available/cms
  ln -s ../sites-available/cms /etc/nginx/sites-enabled/cms
  systemctl restart "php*-fpm.service" nginx.service
}

mount_shared() {
  install -d "$SITE"
  echo "$FILE_SYSTEM.efs.$REGION.amazonaws.com:/ $SITE nfs4 nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,_netdev 0 0" >>/etc/fstab
  mount "$SITE"
}

main() {
  install_packages
  # PHP can read all of it, and write where the mode on the backend lets the group write. An image of the backend has files already.
  install -d -o root -g www-data -m 2750 "$SITE"
  chown --recursive --no-dereference root:www-data "$SITE"
  [ -z "$FILE_SYSTEM" ] || mount_shared
  pin_agent
  configure_web_server
}

[ "${BASH_SOURCE[0]}" != "$0" ] || main

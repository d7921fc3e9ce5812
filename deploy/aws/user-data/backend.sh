#!/bin/bash
# First boot of the backend: web server, PHP, replicator and its configuration. The template writes the variables in front of this text:
#   GROUP         name of the Auto Scaling group    TARGET_GROUP  ARN of the frontends' target group
#   REGION        AWS region                        SITE          directory of the CMS
#   PRESET        name of the CMS                   HOST_KEYS     how frontends are recognised (ssh.host_keys)
#   PACKAGE_URL   address of replicator's wheel     CACHE_HOST    host of Redis
#   BASE_BUCKET   bucket of the base; empty: none
#   FILE_SYSTEM   id of the EFS file system; empty: replicator carries the files
# and deploy/replicator.service to /etc/systemd/system/. The log is /var/log/cloud-init-output.log.
set -euo pipefail

PHP_PACKAGES="php-fpm php-cli php-mysql php-redis php-gd php-xml php-mbstring php-curl php-intl php-zip"

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # shellcheck disable=SC2086 # one word for each package
  apt-get install -y -q --no-install-recommends nginx python3-venv openssh-client nfs-common $PHP_PACKAGES
}

install_replicator() {
  python3 -m venv /opt/replicator
  /opt/replicator/bin/pip install --quiet "replicator[aws] @ $PACKAGE_URL"
  id replicator >/dev/null 2>&1 ||
    useradd --system --home-dir /var/lib/replicator --shell /usr/sbin/nologin replicator
  install -d -m 0750 -g replicator /etc/replicator
  [ -e /etc/replicator/id_ed25519 ] ||
    ssh-keygen -q -t ed25519 -N '' -C "$GROUP" -f /etc/replicator/id_ed25519
  chown replicator /etc/replicator/id_ed25519
  touch /etc/replicator/known_hosts
}

# Prints replicator.toml.
configuration() {
  cat <<END
[[tree]]
source = "$SITE"
preset = "$PRESET"
owner = "root:www-data"
ready_file = ".replicator/ready"

[discovery]
provider = "alb"
target_groups = ["$TARGET_GROUP"]
auto_scaling_groups = ["$GROUP"]
region = "$REGION"

[ssh]
user = "deploy"
identity = "/etc/replicator/id_ed25519"
known_hosts = "/etc/replicator/known_hosts"
host_keys = "$HOST_KEYS"
END
  [ -z "$BASE_BUCKET" ] || printf '\n[base]\nurl = "s3://%s/replicator"\nregion = "%s"\n' "$BASE_BUCKET" "$REGION"
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

# Prints nginx's site. The load balancer ends TLS: PHP learns of it by X-Forwarded-Proto.
site() {
  cat <<END
map \$http_x_forwarded_proto \$visitor_uses_tls { default ""; https on; }
server {
    listen 80 default_server;
    root $SITE;
    index index.php;
    client_max_body_size 64m;
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

# A server that has the CMS already, as its image says, keeps its web server as it is.
configure_web_server() {
  local directory
  [ ! -e "$SITE/index.php" ] || return 0
  for directory in /etc/php/*/fpm/conf.d; do
    php_settings >"$directory/90-cms.ini"
  done
  site >/etc/nginx/sites-available/default
  install -d -o www-data -g www-data "$SITE"
  systemctl restart "php*-fpm.service" nginx.service
}

mount_shared() {
  install -d "$SITE"
  echo "$FILE_SYSTEM.efs.$REGION.amazonaws.com:/ $SITE nfs4 nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,_netdev 0 0" >>/etc/fstab
  mount "$SITE"
}

main() {
  install_packages
  if [ -n "$FILE_SYSTEM" ]; then
    mount_shared
    configure_web_server
    return
  fi
  configure_web_server
  install_replicator
  configuration >/etc/replicator/replicator.toml
  systemctl daemon-reload
  systemctl enable --now replicator
  # The console shows it: it is the parameter BackendPublicKey of the stack.
  echo "replicator-public-key: $(cat /etc/replicator/id_ed25519.pub)" | tee /dev/console
}

[ "${BASH_SOURCE[0]}" != "$0" ] || main

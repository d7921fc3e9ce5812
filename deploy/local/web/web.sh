# shellcheck shell=bash
# Sourced by the entry points of the backend and the frontends: configures and starts nginx and php-fpm.

# web_start NODE READY: NODE is what X-Served-By says; READY is the file whose presence says that visitors may come.
web_start() {
  sed -e "s|@NODE@|$1|" -e "s|@READY@|$2|" /usr/local/lib/web/site.conf >/etc/nginx/conf.d/site.conf
  mkdir -p /etc/nginx/node
  [ ! -e "/usr/local/lib/web/$CMS.conf" ] || cp "/usr/local/lib/web/$CMS.conf" /etc/nginx/node/
  sed -i 's|^access_log.*||; s|access_log /var/log/nginx/access.log;|access_log off;|; s|/var/log/nginx/error.log|stderr|' /etc/nginx/nginx.conf
  php_settings >/etc/php/8.2/fpm/conf.d/99-local.ini
  cat >/etc/php/8.2/fpm/pool.d/www.conf <<'POOL'
[www]
user = www-data
group = www-data
listen = /run/php/php-fpm.sock
listen.owner = www-data
listen.group = www-data
pm = dynamic
pm.max_children = 12
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 4
clear_env = no
catch_workers_output = yes
POOL
  php-fpm8.2 --nodaemonize &
  nginx -g 'daemon off;' &
}

php_settings() {
  cat <<'INI'
upload_max_filesize = 64M
post_max_size = 64M
memory_limit = 256M
; A changed file counts with the next request. The default, 2 s, would serve old code that long after it has arrived.
opcache.revalidate_freq = 0
INI
  # The path is quoted: an ini value ends at an unquoted `&`. Without read_timeout a Redis that hangs costs each request 60 s. Without
  # locking, requests of one visitor at the same time lose each other's changes; a lock whose request was killed is waited for 30 s.
  if [ "${SESSION:-redis}" = redis ]; then
    cat <<'INI'
session.save_handler = redis
session.save_path = "tcp://redis:6379?timeout=1&read_timeout=2"
redis.session.locking_enabled = 1
redis.session.lock_retries = -1
redis.session.lock_expire = 30
INI
  fi
}

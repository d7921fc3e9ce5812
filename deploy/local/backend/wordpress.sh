# shellcheck shell=bash
# Installs WordPress from Debian's package. Each step that was done before is left as it is.

install_cms() {
  local root=$1
  if [ ! -e "$root/wp-config.php" ]; then
    # The package spreads its files over /usr/share and /var/lib with symlinks; a document root of its own holds all of them.
    cp -RL --no-preserve=ownership /usr/share/wordpress/. "$root/" 2>/dev/null || :
    rm -rf "$root/wp-config.php" "$root/wp-content/debian"* "$root/wp-content/languages"
    mkdir -p "$root/wp-content/uploads" "$root/wp-content/cache" "$root/wp-content/upgrade"
    chown -R www-data:www-data "$root"
    chmod -R g+rX "$root" # PHP on a frontend reads as a member of the group
    chmod 2775 "$root/wp-content/cache" # and writes here
    wordpress_settings >"$root/wp-config.new"
    chown www-data:www-data "$root/wp-config.new"
    chmod 640 "$root/wp-config.new"
    mv "$root/wp-config.new" "$root/wp-config.php" # last: it says that the copy is complete
  fi
  WP_PASSWORD=$(cat /secrets/admin) runuser -u www-data --preserve-environment -- php /usr/local/lib/backend/install-wordpress.php "$root"
}

wordpress_settings() {
  echo '<?php'
  local key
  for key in AUTH_KEY SECURE_AUTH_KEY LOGGED_IN_KEY NONCE_KEY AUTH_SALT SECURE_AUTH_SALT LOGGED_IN_SALT NONCE_SALT; do
    echo "define('$key', '$(head -c 48 /dev/urandom | base64 -w 0)');"
  done
  cat <<PHP
define('DB_NAME', 'cms');
define('DB_USER', 'cms');
define('DB_PASSWORD', '$(cat /secrets/database)');
define('DB_HOST', 'database');
define('DB_CHARSET', 'utf8mb4');
\$table_prefix = 'wp_';

// Whatever address was typed is the right one, so that the router and each frontend can be asked. On a real site name it.
\$_SERVER += ['HTTP_HOST' => 'localhost:$PORT'];
define('WP_HOME', 'http://' . \$_SERVER['HTTP_HOST']);
define('WP_SITEURL', WP_HOME);

// The backend runs wp-cron.php by itself; a frontend could not write what it makes.
define('DISABLE_WP_CRON', true);
define('FS_METHOD', 'direct');
define('WP_AUTO_UPDATE_CORE', false);
// Application passwords (for REST) without TLS, which the local stack does not have.
define('WP_ENVIRONMENT_TYPE', 'local');

defined('ABSPATH') || define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
PHP
}

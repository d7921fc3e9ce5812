# shellcheck shell=bash
# Installs MediaWiki from Debian's package. Each step that was done before is left as it is.

install_cms() {
  local root=$1 password
  password=$(cat /secrets/database)
  if [ ! -e "$root/LocalSettings.php" ]; then
    cp -RL --no-preserve=ownership /usr/share/mediawiki/. "$root/" 2>/dev/null || :
    rm -rf "$root/LocalSettings.php" "$root/config" "$root/mw-config"
    mkdir -p "$root/images" "$root/cache"
    # The installer wants to write the settings; what it wrote is replaced below.
    php "$root/maintenance/install.php" --dbtype mysql --dbserver database --dbname cms --dbuser cms --dbpass "$password" \
      --pass "$(cat /secrets/admin)" --scriptpath "" --server "http://localhost:$PORT" \
      --confpath /tmp --with-extensions "One backend, many frontends" admin
    # What frontends write by themselves, and what is not replicated (deploy/cms/mediawiki.toml): PHP there belongs to the group.
    mkdir -p "$root"/images/{thumb,temp,lockdir}
    chown -R www-data:www-data "$root"
    # On a frontend PHP reads as a member of the group; Debian's directory of images is 0700.
    chmod -R g+rX "$root"
    chmod 2775 "$root"/images/{thumb,lockdir} "$root/cache"
    mediawiki_settings "$password" >"$root/LocalSettings.new"
    chown www-data:www-data "$root/LocalSettings.new"
    chmod 640 "$root/LocalSettings.new"
    mv "$root/LocalSettings.new" "$root/LocalSettings.php" # last: it says that the copy is complete
  fi
}

# Prints the lines for LocalSettings.php that `replicator preset show mediawiki` prints.
preset_settings() {
  replicator preset show mediawiki --format json | python3 -c '
import json, sys
for row in json.load(sys.stdin)["setting"]:
    if row["file"] == "LocalSettings.php":
        print(row["text"].replace("CACHE_HOST", "redis"))'
}

mediawiki_settings() {
  local settings override=
  settings=$(preset_settings)
  [ "${SESSION:-redis}" = redis ] || override="\$wgSessionCacheType = CACHE_ACCEL;"
  cat <<PHP
<?php
\$wgSitename = 'One backend, many frontends';
// Whatever address was typed is the right one, so that the router and each frontend can be asked. On a real site name it.
\$wgServer = 'http://' . (\$_SERVER['HTTP_HOST'] ?? 'localhost:$PORT');
\$wgAllowExternalImages = false;
\$wgScriptPath = '';
\$wgArticlePath = '/wiki/\$1';
\$wgResourceBasePath = \$wgScriptPath;
\$wgDBtype = 'mysql';
\$wgDBserver = 'database';
\$wgDBname = 'cms';
\$wgDBuser = 'cms';
\$wgDBpassword = '$1';
\$wgDBTableOptions = 'ENGINE=InnoDB, DEFAULT CHARSET=binary';
\$wgSecretKey = '$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')';
\$wgUpgradeKey = false;
\$wgEnableUploads = true;
\$wgLanguageCode = 'en';
\$wgLocaltimezone = 'UTC';
wfLoadSkin('Vector');

// What the preset says: sessions and the cache in Redis, thumbnails made on request (thumb_handler.php).
$settings
$override
\$wgParserCacheType = CACHE_DB;
\$wgCacheDirectory = false;
// Jobs run on the backend, not at the end of a visitor's request.
\$wgJobRunRate = 0;
\$wgUseImageMagick = false;
PHP
}

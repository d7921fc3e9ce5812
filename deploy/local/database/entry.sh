#!/bin/bash
# MariaDB with one database and one account, named after the CMS.
set -euo pipefail
mkdir -p /run/mysqld
chown -R mysql /run/mysqld /var/lib/mysql
[ -d /var/lib/mysql/mysql ] || mariadb-install-db --user=mysql --datadir=/var/lib/mysql --skip-test-db --auth-root-authentication-method=socket >/dev/null
password=$(cat /secrets/database)
rm -f /run/mysqld/init.sql
install -o mysql -m 600 /dev/null /run/mysqld/init.sql
cat >/run/mysqld/init.sql <<SQL
CREATE DATABASE IF NOT EXISTS cms DEFAULT CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS 'cms'@'%' IDENTIFIED BY '$password';
GRANT ALL ON cms.* TO 'cms'@'%';
SQL
exec mariadbd --user=mysql --bind-address=0.0.0.0 --skip-name-resolve --init-file=/run/mysqld/init.sql

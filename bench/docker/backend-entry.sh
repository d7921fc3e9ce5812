#!/bin/sh
# Makes the key with which the backend logs in, once, then becomes the command.
set -eu
umask 077
if [ ! -e /keys/id_ed25519.pub ]; then
  rm -f /keys/new /keys/new.pub
  ssh-keygen -q -t ed25519 -N '' -C backend -f /keys/new
  mv /keys/new /keys/id_ed25519
  mv /keys/new.pub /keys/id_ed25519.pub # last, and whole: frontends wait for it
fi
exec "$@"

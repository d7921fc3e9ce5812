# Runs as process 1 of new namespaces: makes the root directory from layers, enters it, and becomes the command.
#   ROOT LOWER UPPER WORK   the overlay: where it is mounted, its layers
#   BINDS                   lines "source target ro|rw"
#   HOST DIRECTORY          host name; working directory
# The command's environment is in the arguments, for env -i.
set -eu
read -r _ # the caller has configured the network
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
for name in null zero full random urandom tty; do
  touch "$ROOT/dev/$name"
  mount --bind "/dev/$name" "$ROOT/dev/$name"
done
ln -s /proc/self/fd "$ROOT/dev/fd"
ln -s /proc/self/fd/0 "$ROOT/dev/stdin"
ln -s /proc/self/fd/1 "$ROOT/dev/stdout"
ln -s /proc/self/fd/2 "$ROOT/dev/stderr"
mkdir -m 1777 "$ROOT/dev/shm"
printf '%s' "${BINDS:-}" | while read -r source target mode; do
  mkdir -p "$ROOT$target"
  mount --bind "$source" "$ROOT$target"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$ROOT$target"
done
[ -z "${HOST:-}" ] || hostname "$HOST"
ulimit -n 65536 2>/dev/null || :
exec chroot "$ROOT" /usr/bin/env -i -C "$DIRECTORY" "$@" </dev/null

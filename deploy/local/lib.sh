# shellcheck shell=bash
# Sourced by the commands of deploy/local.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export STATE=${STATE:-$here/.state}
mkdir -p "$STATE"
STATE=$(cd "$STATE" && pwd)
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-replicator-local}

fail() {
  echo "$*" >&2
  exit 1
}

# What `up` was called with, for the commands that follow. What the environment says counts more.
recall() {
  local line name
  [ -e "$STATE/settings" ] || fail "nothing runs: start with $here/up"
  while IFS= read -r line; do
    name=${line%%=*}
    [ -n "${!name:-}" ] || export "${line?}"
  done <"$STATE/settings"
}

compose() {
  local files=(-f "$here/docker-compose.yml")
  [ -z "${APP:-}" ] || files+=(-f "$here/app.yml")
  [ -z "${EFS:-}" ] || files+=(-f "$here/efs.yml")
  if docker compose version >/dev/null 2>&1; then
    docker compose "${files[@]}" "$@"
  else
    docker-compose "${files[@]}" "$@"
  fi
}

# containers SERVICE [OPTION...]: prints the ids of a service's containers that run.
containers() {
  docker ps --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$1" "${@:2}"
}

# container NODE: prints the id of backend, router, redis, database or frontend-N.
container() {
  local number=1 id
  case $1 in frontend-*) number=${1##*-} ;; frontend) fail "which one? frontend-1, frontend-2 ..." ;; esac
  id=$(containers "${1%-*}" --filter "label=com.docker.compose.container-number=$number")
  [ -n "$id" ] || fail "there is no node $1"
  echo "$id"
}

# Prints the numbers of the frontends that run, smallest first.
frontends() {
  docker ps --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter label=com.docker.compose.service=frontend \
    --format '{{.Label "com.docker.compose.container-number"}}' | sort -n
}

address() {
  docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"
}

# Prints the addresses of the frontends to which the router sends visitors.
serving() {
  docker exec "$(container router)" sed -nE '/upstream frontends/,$ s/^ *server ([0-9.]+) .*/\1/p' /run/upstream.conf
}

# Waits until the router sends visitors to so many frontends. Without a backend none will ever be filled.
await() {
  local deadline=$((SECONDS + ${PATIENCE:-300})) count
  while :; do
    count=$(serving 2>/dev/null | wc -l)
    [ "$count" != "$1" ] || return 0
    (container backend >/dev/null 2>&1) || fail "the backend has ended; its log: docker logs $(containers backend --all)"
    [ $SECONDS -lt $deadline ] || fail "$count of $1 frontends are in service: $here/status"
    sleep 0.3
  done
}

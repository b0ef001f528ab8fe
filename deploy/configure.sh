#!/usr/bin/env bash
# Writes what a deployment needs and Git must not hold: UICI's configuration folder for this
# place, made from infrastructure/config, and secrets. What is there already is left alone.
#
#   deploy/configure.sh compose              deploy/compose/{uici,secrets} and deploy/.env
#   deploy/configure.sh kubernetes           deploy/kubernetes/base/config
#   deploy/configure.sh systemd [DIR]        DIR, /etc/uici as a rule
#
# Change the folder's files afterwards as you like: they are the only place where UICI is
# configured. infrastructure/config explains every value.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SHIPPED=infrastructure/config

say() { printf 'configure: %s\n' "$*" >&2; }

unfinished= # a configuration folder that is being written: the next run has to write it anew

stop() {
    [ -z "$unfinished" ] || rm -f "$unfinished/platform.yml"
    say "$*"
    exit 1
}

# Replaces a line's value, and stops if the line is not there any more. $1: file, $2: the
# line's beginning, $3: what stands behind it now, $4: what is to stand there. The comment
# at the end of the line stays.
set_value() {
    local file=$1 begins=$2 old=$3 new=$4
    grep -qF -- "$begins$old" "$file" || stop "$file has no line “$begins$old”: correct this script"
    B=$begins O=$old N=$new awk '
        !done && (at = index($0, ENVIRON["B"] ENVIRON["O"])) {
            $0 = substr($0, 1, at - 1) ENVIRON["B"] ENVIRON["N"] substr($0, at + length(ENVIRON["B"] ENVIRON["O"]))
            done = 1
        }
        {print}' "$file" >"$file.new"
    mv "$file.new" "$file"
}

# A copy of the shipped configuration without its schemas' generator. $1: folder.
copy_config() {
    [ ! -e "$1/platform.yml" ] || return 1
    unfinished=$1
    mkdir -p "$1"
    cp -R "$SHIPPED"/. "$1"
    find "$1" -type d -name __pycache__ -prune -exec rm -rf {} +
    chmod -R u=rwX,go=rX "$1"
}

# $1: file, $2: its text; empty: 32 random bytes. Containers read it as another user; the
# folder's own rights keep other people out.
secret() {
    [ -e "$1" ] && return
    local text=${2-}
    [ $# -gt 1 ] || text=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s\n' "$text" >"$1"
    chmod 0444 "$1"
}

compose() {
    local config=deploy/compose/uici secrets=deploy/compose/secrets
    local socket=${DOCKER_SOCKET:-/var/run/docker.sock} # another one: of a rootless engine
    if copy_config "$config"; then
        set_value "$config/platform.yml" "apiUrl: " http://127.0.0.1:4200/api http://prefect-server:4200/api
        set_value "$config/platform.yml" "server: {mode: " embedded external
        set_value "$config/platform.yml" "  seed: " ../../desired-state /opt/uici/desired-state
        set_value "$config/platform.yml" "  http: {host: " 127.0.0.1 0.0.0.0
        # shellcheck disable=SC2016 # references of the configuration, not of this shell
        set_value "$config/platform.yml" "    token: " '${env:UICI_WEBHOOK_TOKEN:-}' '${file:/run/secrets/webhook-token}'
        # shellcheck disable=SC2016 # as above
        set_value "$config/platform.yml" "  apiKey: " '${env:OPENAI_API_KEY:-}' '${file:/run/secrets/openai-api-key}'
        set_value "$config/environments.yml" '{url: "' http://127.0.0.1:9090 http://prometheus:9090
        set_value "$config/environments.yml" '{url: "' http://127.0.0.1:9093 http://alertmanager:9093
        unfinished=
        say "wrote $config: set git.remote in its platform.yml to your state repository"
    fi
    mkdir -p "$secrets"
    chmod 0700 "$secrets"
    secret "$secrets/openai-api-key" "${OPENAI_API_KEY:-}"
    secret "$secrets/webhook-token"
    secret "$secrets/prefect-database"
    secret "$secrets/grafana-admin"
    if [ ! -e deploy/.env ]; then
        [ -S "$socket" ] || stop "no Docker Engine has its socket at $socket: start it and run this again"
        printf 'DOCKER_GID=%s\nDOCKER_SOCKET=%s\n' "$(stat -c %g "$socket")" "$socket" >deploy/.env
    fi
    say "ready: docker compose --file deploy/docker-compose.yml up --detach --wait"
}

kubernetes() {
    local config=deploy/kubernetes/base/config
    copy_config "$config" || return 0
    rm -rf "$config/schemas"
    set_value "$config/platform.yml" "dataDirectory: " '${env:UICI_DATA:-~/.local/share/uici}' /var/lib/uici/data
    # The example from here, and in the container, where nothing is above the root.
    set_value "$config/platform.yml" "  seed: " ../../desired-state ../../../../desired-state
    set_value "$config/platform.yml" "  http: {host: " 127.0.0.1 0.0.0.0
    cp deploy/kubernetes/environments.yml "$config/environments.yml"
    say "wrote $config: set git.remote in its platform.yml, and environments.yml to your namespaces"
}

systemd() {
    local config=${1:-/etc/uici}
    copy_config "$config" || return 0
    set_value "$config/platform.yml" "  seed: " ../../desired-state "$PWD/desired-state"
    say "wrote $config: set git.remote in its platform.yml to your state repository"
}

case "${1:-}" in
compose) compose ;;
kubernetes) kubernetes ;;
systemd) systemd "${2:-}" ;;
*) stop "say for which place: compose, kubernetes or systemd" ;;
esac

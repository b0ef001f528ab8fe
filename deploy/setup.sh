#!/usr/bin/env bash
# Installs what is missing, and nothing else. Called by the Makefile.
#
#   deploy/setup.sh python    .venv from the hashed lock file
#   deploy/setup.sh servers   Docker Engine, Prometheus, Alertmanager, busybox
#   deploy/setup.sh testing   what only tests need: Chromium, HAProxy; in CI an SSH server, too
#
# As root on Debian or Ubuntu, missing system packages come from the distribution.
# Anywhere else it prints the command that installs them and stops with exit code 1.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly LOCK=requirements-dev.lock
readonly STAMP=$VENV/.installed
# Debian keeps servers in sbin, which is not on every user's PATH.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf 'setup: %s\n' "$*" >&2; }

stop() {
    say "$*"
    exit 1
}

# Runs a command quietly; what it wrote is shown only when it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

has() { command -v "$1" >/dev/null 2>&1; }

can_apt() { [ "$(id -u)" -eq 0 ] && has apt-get; }

known_to_apt() { [ -n "$(apt-cache show --no-all-versions "$1" 2>/dev/null)" ]; }

# Installs Debian packages, or says which command does. $1: what they are for.
install_packages() {
    local purpose=$1
    shift
    if ! can_apt; then
        say "missing: $purpose. As root on Debian or Ubuntu this installs it:"
        say "    apt-get install --no-install-recommends $*"
        say "elsewhere, install the same programs and put them on PATH; then run make again."
        exit 1
    fi
    say "installing $purpose ($*) …"
    export DEBIAN_FRONTEND=noninteractive
    local package
    for package in "$@"; do
        known_to_apt "$package" && continue
        quietly apt-get update || stop "apt-get update failed: check the network and the sources"
        break
    done
    # Lists can be stale although they know the name: one refresh, then give up.
    quietly apt-get install -y -q --no-install-recommends "$@" 2>/dev/null && return
    quietly apt-get update || stop "apt-get update failed: check the network and the sources"
    quietly apt-get install -y -q --no-install-recommends "$@" ||
        stop "apt-get could not install: $*"
}

# ── Python ───────────────────────────────────────────────────────────────────────

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

can_make_venv() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }

# Prints the first supported interpreter; one that can make environments goes first.
find_python() {
    local name supported=
    for name in python3.11 python3.12 python3.13 python3.14 python3; do
        if ! has "$name" || ! is_supported "$name"; then
            continue
        fi
        if can_make_venv "$name"; then
            printf '%s' "$name"
            return
        fi
        supported=${supported:-$name}
    done
    printf '%s' "$supported"
}

# Debian packages ensurepip apart, by version (python3.11-venv).
add_venv_module() {
    local version
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    install_packages "the venv module of Python $version" "python$version-venv" ca-certificates
    can_make_venv "$1" || stop "$1 can't make virtual environments: install its venv and ensurepip"
}

setup_python() {
    local wanted python
    wanted=$(sha256sum "$LOCK" pyproject.toml | sha256sum | cut -d' ' -f1)
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; then
        touch "$STAMP"
        return
    fi
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        [ -n "$python" ] || install_packages "Python 3.11 or newer" python3 python3-venv ca-certificates
        python=${python:-$(find_python)}
        [ -n "$python" ] || stop "no Python from 3.11 to 3.14 found on PATH"
        can_make_venv "$python" || add_venv_module "$python"
        say "creating $VENV with $("$python" --version) …"
        quietly "$python" -m venv --clear "$VENV" || stop "$python -m venv failed"
    fi
    say "installing Python packages (a few minutes the first time) …"
    local pip=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps)
    quietly "${pip[@]}" --require-hashes -r "$LOCK" ||
        stop "pip could not install $LOCK: check the network, then run make again"
    quietly "${pip[@]}" --no-build-isolation -e . || stop "pip could not install the project itself"
    printf '%s\n' "$wanted" >"$STAMP"
    say "Python packages are ready"
}

# ── servers ──────────────────────────────────────────────────────────────────────

engine_answers() { has docker && docker version >/dev/null 2>&1; }

# The demo image has no C library, so its busybox must not need one.
has_static_busybox() { has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

# Debian starts what it installs. The Docker service is welcome; monitoring servers that
# nobody asked for on this machine are not: the project starts its own on free ports.
leave_stopped() {
    [ -d /run/systemd/system ] || return 0
    systemctl disable --now "$@" >/dev/null 2>&1 || true
}

setup_servers() {
    local missing=() monitoring=()
    has docker || missing+=(docker.io)
    has dockerd || engine_answers || missing+=(docker.io)
    has iptables || engine_answers || missing+=(iptables)
    has prometheus || monitoring+=(prometheus)
    has alertmanager || has prometheus-alertmanager || monitoring+=(prometheus-alertmanager)
    has_static_busybox || missing+=(busybox-static)
    missing+=("${monitoring[@]}")
    [ ${#missing[@]} -eq 0 ] && return
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    install_packages "the servers that UICI works with" "${missing[@]}"
    [ ${#monitoring[@]} -eq 0 ] || leave_stopped "${monitoring[@]}"
    # Newer distributions package the command line apart from the engine.
    has docker || install_packages "the Docker command line" docker-cli
    say "servers are ready"
}

# Each by itself: without one, its own tests are skipped, and say so.
setup_testing() {
    has chromium || has chromium-browser || has google-chrome ||
        (install_packages "the browser that tests Prefect's pages" chromium) || true
    if ! has haproxy; then
        (install_packages "the proxy that filters the Docker socket" haproxy) || true
        leave_stopped haproxy
    fi
    # Where it is installed Debian starts it, for everybody: not on a machine of a person's.
    [ -z "${CI:-}" ] || has sshd || (install_packages "the SSH server of tests" openssh-server) || true
}

case "${1:-}" in
python) setup_python ;;
servers) setup_servers ;;
testing) setup_testing ;;
*) stop "say what to set up: python, servers or testing" ;;
esac

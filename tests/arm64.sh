#!/usr/bin/env bash
# The program for linux/arm64, on an amd64 Debian: built static by Debian's cross compilers, then run in an emulator of the
# processor, and held against what the one built for this machine does. Ends with an image of it. `make arm64` runs it; it installs
# nothing and changes nothing outside target/arm64, beside the tests' servers and podman's images.
#
#   target/arm64/dmarc-shipper   the program in its emulator, for whatever else is to be tried
set -euo pipefail
cd "$(dirname "$0")/.."

triple=aarch64-unknown-linux-gnu
here="$PWD/target/arm64"
toolchain="$here/toolchain"
binary="$here/$triple/dist/dmarc-shipper"
program="$here/dmarc-shipper"
# Of the tests against real servers, those without a syslog receiver and without a limit of memory: the emulator does not know the
# kernel's SIOCOUTQNSD, so that no frame over TCP is ever confirmed in it, and takes memory of its own.
tests=(
    golden:: event_schema:: examples:: files:: bad_input:: source_imap::with_dovecot
    end_to_end::{stdout_and_a_file,report_events_add_up,event_id_is_the_same,a_read_only_mailbox,run_without_a_file,a_dry_run}
    --skip systemd::
)
say() { echo "arm64: $*"; }
die() { say "$*" >&2; exit 1; }

[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || die "this needs Debian on amd64; elsewhere, build the image: make image PLATFORM=linux/arm64"

# Lists of packages of our own: those of the machine need not know arm64.
apt() {
    apt-get -q -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root \
        -o Dir::State::Lists="$here/lists" -o Dir::Cache="$here/cache" "$@"
}

# What a real installation would add to this machine, in a folder: as packages they would drive out the machine's Rust, and
# the emulator would register itself with the kernel. Debian's Rust for browsers is the one that is new enough.
unpack() {
    local packages=(rustc-web cargo-web libstd-rust-web-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)
    local -a parts
    rm -rf "$toolchain" "$here/unpacking" "$here/debs"
    mkdir -p "$here/lists/partial" "$here/cache/archives/partial" "$here/debs"
    apt update
    mapfile -t parts < <(apt install -s --no-install-recommends "${packages[@]}" | awk '$1 == "Inst" && $3 ~ /^\(/ {print $2}')
    (cd "$here/debs" && apt download "${parts[@]}" "${packages[@]}" libstd-rust-web-dev:arm64)
    for part in "$here"/debs/*.deb; do
        dpkg -x "$part" "$here/unpacking"
    done
    mv "$here/unpacking" "$toolchain"
    rm -rf "$here/debs" "$here/lists" "$here/cache"
    say "unpacked ${packages[*]} and what they need into $toolchain"
}

# As the Dockerfile builds it.
build() {
    PATH="$toolchain/usr/bin:$PATH" LD_LIBRARY_PATH="$toolchain/usr/lib/x86_64-linux-gnu" \
        RUSTC="$toolchain/usr/bin/rustc" CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$PWD=/ --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
        "$toolchain/usr/bin/cargo" build --profile dist --locked --target "$triple" --target-dir "$here" --bin dmarc-shipper
    local told
    told="$(readelf -hlW "$binary")"
    grep -q 'Machine: *AArch64' <<<"$told" || die "$binary is for another processor"
    ! grep -q INTERP <<<"$told" || die "$binary is not static"
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$toolchain/usr/bin/qemu-aarch64-static" "$binary" >"$program"
    chmod 755 "$program"
    say "$("$program" --version), $(stat -c %s "$binary") bytes"
}

# What a program writes to stdout, but for the time, and its exit code.
does() { # PROGRAM ARGUMENT…
    local code=0
    "$@" 2>"$here/stderr" >"$here/stdout" || code=$?
    sed -E 's/"ingest_timestamp":"[^"]*"/"ingest_timestamp":""/' "$here/stdout"
    echo "exit code $code"
}
same() { # ARGUMENT…, of both
    does "${native:?}" "$@" >"$here/amd64.said"
    does "$program" "$@" >"$here/arm64.said"
    cmp "$here/amd64.said" "$here/arm64.said" || die "dmarc-shipper $* does something else on arm64: target/arm64/*.said"
    say "the same on both, $(wc -l <"$here/arm64.said") lines: dmarc-shipper $*"
}

# The ledger and the file sink: what one has noted, it finds in its second run, and so does the other after it.
ledger_and_file() { # ONE OTHER
    local data="$here/data" each
    rm -rf "$data"
    mkdir -p "$data"
    cat >"$data/config.yaml" <<END
data_dir: $data
sources: {rua: {type: file, path: examples/mailbox}}
sinks: {out: {type: file, path: $data/events.ndjson}}
END
    for each in "$1" "$1" "$2"; do
        "$each" run --once --config "$data/config.yaml" 2>"$here/stderr" || die "$(cat "$here/stderr")"
    done
    [ "$(wc -l <"$data/events.ndjson")" -eq 19 ] || die "$1, and then $2, wrote $(wc -l <"$data/events.ndjson") events of 19"
    same ledger list --config "$data/config.yaml"
    rm -rf "$data"
}

# The final stage of the Dockerfile. The kernel of an amd64 machine does not run what is in it; the emulator beside it does.
image() {
    local context="$here/context" tag=localhost/dmarc-shipper:arm64-test told events
    rm -rf "$context"
    mkdir -p "$context/out/data"
    cp "$binary" "$context/out/dmarc-shipper"
    export CONTAINERS_CONF="$PWD/tests/containers.conf"
    podman build --quiet --format docker --network none --platform linux/arm64 --build-context "build=$context" --tag "$tag" . >/dev/null
    rm -rf "$context"
    told="$(podman image inspect --format '{{.Os}}/{{.Architecture}}, {{.Size}} bytes' "$tag")"
    events="$(podman run --rm --platform linux/arm64 --pull never --network none --read-only --cap-drop ALL --no-healthcheck \
        -v "$toolchain/usr/bin/qemu-aarch64-static:/qemu:ro" -v "$PWD/examples/mailbox:/mailbox:ro" \
        --entrypoint '["/qemu", "/usr/bin/dmarc-shipper"]' "$tag" run --once --from /mailbox --to stdout: 2>"$here/stderr" | wc -l || true)"
    podman rmi "$tag" >/dev/null
    [[ "$told" == linux/arm64,* ]] || die "the image is for $told"
    [ "$events" -eq 19 ] || die "the image made $events events of 19: $(cat "$here/stderr")"
    say "the image is for $told"
}

[ -x "$toolchain/usr/bin/rustc" ] || unpack
build
cargo build --locked
native="$PWD/target/debug/dmarc-shipper"
same run --once --from examples/mailbox --to stdout:
same parse tests/data
same check --offline --config examples/config/syslog-tls.yaml
same schema event
ledger_and_file "$native" "$program"
ledger_and_file "$program" "$native"
DMARC_SHIPPER="$program" cargo test --locked --test it -- "${tests[@]}"
image

# One static binary on nothing else. Any builder of OCI images takes it: `make image` uses podman or docker.
#
#   BUILD_IMAGE   where cargo comes from; pin it by digest (…@sha256:…) for a build that can be repeated
#   REVISION, CREATED, VERSION   what the labels say; `make image` fills them in from git and Cargo.toml
#
# For another architecture than the builder's: `podman build --platform linux/arm64`. The compiler stays the
# builder's own, and crosses over.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm

FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG TARGETARCH
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
RUN case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
      amd64) echo x86_64-unknown-linux-gnu x86-64-linux-gnu ;; \
      arm64) echo aarch64-unknown-linux-gnu aarch64-linux-gnu ;; \
      *) echo "no build for ${TARGETARCH}: amd64 and arm64 are known" >&2; exit 1 ;; \
    esac > /target \
 && read -r triple gcc < /target \
 && rustup target add "$triple" \
 && if [ "$(dpkg --print-architecture)" != "${TARGETARCH:-$(dpkg --print-architecture)}" ]; then \
      apt-get update && apt-get install -y --no-install-recommends "gcc-$gcc" "libc6-dev-${TARGETARCH}-cross"; \
    fi
COPY Cargo.toml Cargo.lock ./
COPY src src
# Cargo looks for every target that Cargo.toml names, also for those that it does not build.
COPY benches benches
# Paths of the builder would be in panic messages, and make two builds differ.
RUN read -r triple gcc < /target \
 && compiler="$(echo "$gcc" | sed 's/^x86-64/x86_64/')-gcc" \
 && name="$(echo "$triple" | tr 'a-z-' 'A-Z_')" \
 && export SOURCE_DATE_EPOCH "CARGO_TARGET_${name}_LINKER=$compiler" "CC_$(echo "$triple" | tr - _)=$compiler" \
 && export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/src=/ --remap-path-prefix=${CARGO_HOME}=/cargo" \
 && cargo build --profile dist --locked --target "$triple" --bin dmarc-shipper \
 && mkdir -p /out/data \
 && cp "target/$triple/dist/dmarc-shipper" /out/

# What it trusts without a `tls.ca_file` is Mozilla's list, built in; mount /etc/ssl/certs to replace that.
FROM scratch
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="dmarc-shipper" \
      org.opencontainers.image.description="Ships DMARC and SMTP TLS reports from IMAP mailboxes to syslog, stdout and files" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build --chmod=0755 /out/dmarc-shipper /usr/bin/dmarc-shipper
# The mount point of `data_dir`: a fresh volume takes over its owner.
COPY --from=build --chown=65532:65532 --chmod=0750 /out/data /var/lib/dmarc-shipper
USER 65532:65532
EXPOSE 9598
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s CMD ["/usr/bin/dmarc-shipper", "health"]
ENTRYPOINT ["/usr/bin/dmarc-shipper"]
CMD ["run"]

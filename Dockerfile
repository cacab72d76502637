# The service as a container: `docker build -t onrecord .`
#
# Two stages: the first compiles, the second holds the binary, root certificates, licences, and a
# user without rights. `.ci/image-steps` does what the COPY and RUN lines of the first stage do, with
# `cargo clippy` instead of a release build; keep both in step.

# The release workflow passes both with their digests.
ARG BUILD_IMAGE=rust:1.95.0-trixie
ARG RUNTIME_IMAGE=debian:13-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

COPY Cargo.toml Cargo.lock LICENSE askama.toml ./
COPY .ci/notices .ci/notices
COPY crates crates
COPY docs/azure.md docs/sql.md docs/
COPY docs/schemas docs/schemas
COPY migrations migrations
COPY src src
# The manifest names them, so cargo wants them to be there; they are not compiled.
COPY benches benches
COPY tests tests

# The caches keep what was downloaded and compiled from one build to the next.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked -p onrecord --no-default-features --features kafka-tls,object-storage,parquet --bin onrecord \
    && .ci/notices > /build/THIRD-PARTY-NOTICES \
    && cp target/release/onrecord /build/onrecord

FROM ${RUNTIME_IMAGE}

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin onrecord
# For TLS towards Postgres and Kafka.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/LICENSE /build/THIRD-PARTY-NOTICES /usr/share/doc/onrecord/
COPY --from=build /build/onrecord /usr/local/bin/onrecord

USER 10001:10001
# A mounted onrecord.toml is read from here.
WORKDIR /etc/onrecord
ENV ONRECORD_LISTEN=0.0.0.0:8080
EXPOSE 8080

# Alive, not ready: a container whose stores are away must not be restarted for it. The image has
# no HTTP client, but Debian's bash can open a connection.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r -t 4 answer <&3 && [[ $answer == *' 200 '* ]]"]

ENTRYPOINT ["onrecord"]
CMD ["serve"]

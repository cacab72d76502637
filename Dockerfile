# The service as a container: `docker build -t onrecord .`
#
# Two stages: the first compiles, the second holds the binary, root certificates, and a user without
# rights.

FROM rust:1.95.0-bookworm AS build
WORKDIR /build

# The dependencies first, with an empty program: this layer is made anew only when they change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --features kafka-tls --bin onrecord \
    && rm -r src

COPY migrations migrations
COPY src src
# COPY keeps the files' times, which lie before those of the empty program, and cargo goes by them.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --features kafka-tls --bin onrecord

FROM debian:12.12-slim

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin onrecord
# For TLS towards Postgres and Kafka.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/onrecord /usr/local/bin/onrecord

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

# The image of the gateway: a build stage with a compiler, and a runtime stage with one binary and the system's certificates.

FROM rust:1.95.0-slim-bookworm AS build
# cmake and a C compiler: zlib-ng, zstd, SQLite and the cryptography are built from source.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The image brings the compiler that rust-toolchain.toml names; rustup must not fetch rustfmt and clippy for it.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package portcullis \
    && cp target/release/portcullis /portcullis

FROM debian:bookworm-slim
# Without a certificate bundle every verified connection to an upstream or a database would fail.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/portcullis --create-home --shell /usr/sbin/nologin portcullis \
    && mkdir /var/lib/portcullis/data \
    && chown portcullis: /var/lib/portcullis/data
COPY --from=build /portcullis /usr/local/bin/portcullis
USER 10001:10001
# Relative paths of the configuration (an SQLite database, its key) lie here.
WORKDIR /var/lib/portcullis
VOLUME /var/lib/portcullis/data
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["portcullis", "healthcheck", "--config", "/etc/portcullis/gateway.yaml"]
ENTRYPOINT ["portcullis"]
CMD ["run", "--config", "/etc/portcullis/gateway.yaml"]

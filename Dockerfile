# syntax=docker/dockerfile:1
# docker build -t telewarden .
# docker run -v telewarden:/var/lib/telewarden -p 127.0.0.1:8080:8080 \
#     -e TELEGRAM_API_ID=… -e TELEGRAM_API_HASH=… -e RABBITMQ_URL=… telewarden

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# Dependencies first, in a layer of their own that only a change of the manifests renews. Cargo
# wants to see every target that a manifest names, so what is not copied gets a stub;
# .ci/dockerfile checks that none is forgotten.
COPY Cargo.toml Cargo.lock ./
COPY vendor vendor
COPY tests/simulator/Cargo.toml tests/simulator/Cargo.toml
RUN mkdir -p src benches/accounts benches/bridge benches/campaigns tests/simulator/src \
    && echo 'fn main() {}' | tee src/main.rs benches/accounts/main.rs benches/bridge/main.rs benches/campaigns/main.rs > tests/simulator/src/main.rs \
    && touch src/lib.rs tests/simulator/src/lib.rs \
    && cargo build --release --locked --package telewarden --bin telewarden \
    && rm -r src
COPY src src
# Compiled in.
COPY docs/errors.md docs/errors.md
# Cargo judges by time, and the copied files may be older than what was built above.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package telewarden --bin telewarden \
    && strip --strip-debug target/release/telewarden

FROM debian:bookworm-slim
# Certificate authorities, for amqps://.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/telewarden --shell /usr/sbin/nologin telewarden \
    && install --directory --mode 0700 --owner telewarden --group telewarden /var/lib/telewarden \
    && install --directory /etc/telewarden
COPY --from=build /build/target/release/telewarden /usr/bin/telewarden

# A config.toml mounted here (/etc/telewarden/config.toml) is read by every command. These variables are weaker than TELEWARDEN__HTTP__LISTEN
# and the flags, and HEALTH_CHECK_PORT still chooses the port.
WORKDIR /etc/telewarden
ENV HEALTH_CHECK_HOST=0.0.0.0 \
    TELEWARDEN__STORE__PATH=/var/lib/telewarden
USER telewarden
VOLUME /var/lib/telewarden
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/bin/telewarden", "health"]
ENTRYPOINT ["/usr/bin/telewarden"]
CMD ["run"]

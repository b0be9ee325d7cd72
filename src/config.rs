//! Configuration: defaults, `config.toml`, environment, flags, in that order.

//! A loopback Telegram datacenter for tests, demo and benchmarks.
mod wire;

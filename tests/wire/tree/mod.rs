//! The tree and its process: crashes, restarts, points of failure, shutdown, the service manager.

mod crash;
mod failpoints;
mod shutdown;
mod supervision;
mod systemd;

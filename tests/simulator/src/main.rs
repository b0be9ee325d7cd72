//! The simulator as a program: arguments in, addresses and seed out, until it is interrupted.

use std::io::Write;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use telewarden_simulator::{Options, Simulator};

/// A loopback Telegram datacenter for tests, demo and benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Where clients connect; port 0 takes a free one.
    #[arg(long)]
    listen: SocketAddrV4,
    /// Where the control API listens.
    #[arg(long)]
    control: Option<SocketAddrV4>,
    /// Where to write the public half of the server's RSA key, as PEM.
    #[arg(long)]
    public_key: Option<PathBuf>,
    /// What everything random is drawn from.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if even this cannot be written.
            let _ = writeln!(std::io::stderr(), "telewarden-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { listen, control, public_key, seed } = arguments;
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let simulator = Simulator::start(Options { listen, control, seed }).await?;
    if let Some(path) = public_key {
        std::fs::write(&path, simulator.public_key_pem())
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", simulator.listen_addr())?;
    if let Some(control) = simulator.control_addr() {
        writeln!(out, "control API on http://{control}")?;
    }
    writeln!(out, "seed {}", simulator.seed())?;
    out.flush()?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}

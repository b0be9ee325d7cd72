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
    /// A further datacenter and where it listens, as in `4=127.0.0.1:4444`; may be repeated.
    #[arg(long = "dc", value_name = "ID=ADDRESS", value_parser = datacenter)]
    dcs: Vec<(i32, SocketAddrV4)>,
    /// What everything random is drawn from.
    #[arg(long)]
    seed: Option<u64>,
}

fn datacenter(argument: &str) -> Result<(i32, SocketAddrV4), String> {
    let wrong = || format!("{argument:?} is not like 4=127.0.0.1:4444");
    let (dc, address) = argument.split_once('=').ok_or_else(wrong)?;
    Ok((dc.parse().map_err(|_| wrong())?, address.parse().map_err(|_| wrong())?))
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
    let Arguments { listen, control, public_key, dcs, seed } = arguments;
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let others: Vec<i32> = dcs.iter().map(|(dc, _)| *dc).collect();
    let simulator = Simulator::start(Options { listen, control, seed, dcs }).await?;
    if let Some(path) = public_key {
        std::fs::write(&path, simulator.public_key_pem())
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", simulator.listen_addr())?;
    for dc in others {
        if let Some(address) = simulator.dc_addr(dc) {
            writeln!(out, "datacenter {dc} on {address}")?;
        }
    }
    if let Some(control) = simulator.control_addr() {
        writeln!(out, "control API on http://{control}")?;
    }
    writeln!(out, "seed {}", simulator.seed())?;
    out.flush()?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}

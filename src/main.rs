//! The daemon and its command line.

use std::process::ExitCode;
use std::sync::Arc;

use telewarden::cli::{self, AuditCommand, Command, KeysCommand, RunArgs};
use telewarden::{app, logging, secrets};

fn main() -> ExitCode {
    // First of all: from here on no crash leaves a core with what is read below.
    app::prepare_process();
    // SAFETY: nothing has started a thread yet.
    unsafe { secrets::hide_key_variable() };
    match cli::parse() {
        Command::Run(args) => run(&args),
        Command::Check(args) => cli::check(&args),
        Command::Health(args) => cli::health(&args),
        Command::Token(args) => cli::token(&args),
        Command::Audit(AuditCommand::Verify(args)) => cli::audit_verify(&args),
        Command::Keys(KeysCommand::Status(args)) => cli::keys_status(&args),
        Command::Keys(KeysCommand::Rotate(args)) => cli::keys_rotate(&args),
    }
}

fn run(args: &RunArgs) -> ExitCode {
    let RunArgs { config: args, moved } = args;
    // Chosen once, for as long as it runs.
    let file = args.file();
    let config = match args.load_whole(file.clone()) {
        Ok(config) => config,
        Err(error) => return cli::fail(&format!("failed to {error}")),
    };
    let logging = match logging::init(config.log.level, config.log.format) {
        Ok(logging) => logging,
        Err(error) => return cli::fail(&format!("failed to {error}")),
    };
    let again = args.clone();
    let reload =
        app::Reload::new(config, Arc::new(move || again.load_whole(file.clone())), logging);
    match app::run(reload, *moved) {
        Ok(code) => code,
        Err(error) => {
            cli::fail(&format!("{error:#}"));
            app::exit_code(&error)
        }
    }
}

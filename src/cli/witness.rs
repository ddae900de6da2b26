//! `touchmark witness`: cosigns the checkpoints of ledgers, until it is stopped.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    failure::Failure,
    output::{Out, clean, count},
    serve::Stop,
};
use crate::{
    app::{WitnessNode, WitnessOptions},
    config::{Config, Layer},
    tlog::note::{KeyError, VerifierKey},
};

/// Runs a witness for the ledgers of others.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark witness --state /var/lib/witness --key witness.key --name witness.example/w1 --log id.test/ledger+4f2a91c3+ATr…
  touchmark serve --witness 'witness.example/w1+93b2f0d1+BAh… http://127.0.0.1:8100'

A witness cosigns a checkpoint when it follows on the one before, and never two that contradict each other (C2SP tlog-witness): nobody
can be shown another ledger than everybody else. What it cosigned is on the disk before it answers. Do not copy its
directory back from a backup: a witness that has forgotten is none. A key is used only with the directory that it was made with.")]
pub struct Args {
    /// The address to listen on for HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8100")]
    listen: SocketAddr,
    /// The directory for its promises; made with the key
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The file with its key; made if it is missing and the directory is new
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The name of the witness, for a new key
    #[arg(long, value_name = "NAME", default_value = "localhost/witness")]
    name: String,
    /// The verifier key of a ledger; several for several ledgers, or for one that changes its key
    #[arg(long, value_name = "VKEY", required = true)]
    log: Vec<String>,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if the witness cannot be started.
pub fn run(args: &Args) -> Result<u8, Failure> {
    super::start_logging(&super::loaded(Config::load(None, Layer::default()))?.config)?;
    let logs = args.log.iter().map(|log| log.parse().map_err(|error: KeyError| Failure::usage(error.to_string())));
    let options = WitnessOptions {
        listen: args.listen,
        state: args.state.clone(),
        key: args.key.clone(),
        name: args.name.clone(),
        logs: logs.collect::<Result<Vec<VerifierKey>, _>>()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        let node = WitnessNode::start(options).await?;
        let mut stop = Stop::new()?;
        // A witness whose standard output was closed continues.
        let _ = introduce(&node);
        stop.asked().await;
        node.stop().await;
        Ok(0)
    })
}

fn introduce(node: &WitnessNode) -> Result<(), Failure> {
    let mut out = Out::stdout();
    out.line(format_args!("touchmark witness {}", env!("CARGO_PKG_VERSION")))?;
    out.line(format_args!("  HTTP  {}", node.address()))?;
    out.line(format_args!("  key   {}", node.witness().key()))?;
    for (origin, size) in node.witness().logs() {
        let size =
            size.map_or_else(|| "nothing cosigned yet".into(), |size| format!("{} entries cosigned", count(size)));
        out.line(format_args!("  log   {}, {size}", clean(origin)))?;
    }
    out.line("\nCtrl-C stops the witness.")?;
    out.flush()
}

//! `touchmark prefix`: delegates and homes prefixes.

mod tree;

use clap::Subcommand;

use super::{
    Server,
    failure::Failure,
    output::{self, Out, clean, count},
    parts::{WriteOptions, show_receipt},
};
use crate::{
    client::Client,
    protocol::{
        grpc::{delegation_to_pb, pb},
        json::{endpoint_text, prefix_to_json, prefix_word, site_role_text, time_text},
    },
    record::{Delegation, DelegationSigner, Site},
};

pub use tree::{Args as TreeArgs, run as run_tree};

/// Homes or delegates prefixes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark prefix delegate 88.118 --site 'grpc://192.0.2.1:50051 dns://192.0.2.1:53 http://192.0.2.1:8000'
  touchmark prefix delegate 88.118 \\
      --site '2 primary id.example.com/ledger+1a2b3c4d+AQ… grpc://192.0.2.1:50051' \\
      --site '1 mirror id.example.com/ledger+1a2b3c4d+AQ… grpc://198.51.100.7:50051' \\
      --ds '12345 13 2 0a1b…' --ttl 86400
  touchmark prefix home 88.118
  touchmark prefix revoke 88.118
  touchmark prefix list

A prefix is `88.118` or `hdl:88.118`, an OID, `gs1:` and the digits of a GS1 company prefix, or a URI. The longest one that covers an
identifier counts, label by label. A node on which nothing is homed answers for everything that it does not delegate; once a
prefix is homed, and on a recursive node always, for homed prefixes only. What lies below a delegated prefix is to be delegated by
the node to which it was delegated: who knows the delegation asks there. Each change is an entry of the ledger.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Delegate the prefix to other nodes
    Delegate(DelegateArgs),
    /// Home the prefix on this node
    Home(ChangeArgs),
    /// Remove the delegation or the home: the prefix above counts again
    Revoke(ChangeArgs),
    /// Show all homed and delegated prefixes
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
struct DelegateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// A site: its serial, primary or mirror, its verifier key (all three may be left out), then its endpoints; an
    /// endpoint is PROTOCOL://ADDRESS:PORT with grpc, dns, http, https, hdl-udp or hdl-tcp
    #[arg(long = "site", value_name = "SITE", required = true)]
    sites: Vec<Site>,
    /// A DS record of the zone below: key tag, algorithm, digest type, digest
    #[arg(long = "ds", value_name = "DS")]
    signers: Vec<DelegationSigner>,
    /// Seconds that caches may keep referrals, at most 172,800
    #[arg(long, value_name = "SECONDS", default_value_t = Delegation::TTL_SECONDS_DEFAULT)]
    ttl: u32,
}

#[derive(Debug, clap::Args)]
struct ChangeArgs {
    /// The prefix
    #[arg(value_name = "PREFIX")]
    prefix: String,
    #[command(flatten)]
    options: WriteOptions,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    server: Server,
    /// Print one JSON object for each prefix
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`], with the exit code of the refusal.
pub fn run(args: &Args) -> Result<u8, Failure> {
    use pb::prefix_command::Operation;
    match &args.action {
        Action::Delegate(DelegateArgs { change, sites, signers, ttl }) => {
            let delegation = Delegation::new(*ttl, sites.clone(), signers.clone());
            let delegation = delegation.map_err(|error| Failure::usage(error.to_string()))?;
            apply(change, Operation::Delegate(delegation_to_pb(&delegation)), "delegated")
        }
        Action::Home(change) => apply(change, Operation::Home(pb::Home {}), "homed"),
        Action::Revoke(change) => apply(change, Operation::Revoke(pb::Revoke {}), "revoked"),
        Action::List(args) => super::block_on(list(args)),
    }
}

fn apply(args: &ChangeArgs, operation: pb::prefix_command::Operation, done: &str) -> Result<u8, Failure> {
    let (expected_version, request_id) = args.options.version_and_request();
    let prefix = args.prefix.clone();
    let command = pb::PrefixCommand { prefix, operation: Some(operation), expected_version, request_id };
    let receipt = super::block_on(async {
        let client = Client::connect(args.options.server()).await?;
        Ok(client.apply_prefix(command).await?)
    })?;
    show_receipt(&receipt, &args.options, done)
}

async fn list(args: &ListArgs) -> Result<u8, Failure> {
    let client = Client::connect(&args.server.server).await?;
    let mut out = Out::stdout();
    let mut after = String::new();
    let mut any = false;
    loop {
        let page = client.list_prefixes(pb::ListPrefixesRequest { after, limit: None }).await?.prefixes;
        let Some(last) = page.last() else { break };
        after = last.prefix.clone();
        any = true;
        for state in &page {
            out.line(if args.json { prefix_to_json(state) } else { shown(state) })?;
        }
    }
    if !any && !args.json {
        out.line("nothing is homed or delegated: the node answers for everything, unless it is a recursive one")?;
    }
    out.flush()?;
    Ok(0)
}

fn shown(state: &pb::PrefixState) -> String {
    let mut text = format!(
        "{:<9} {}  version {}, ledger index {}, {}, by {}",
        match prefix_word(state) {
            "delegate" => "delegated",
            "home" => "homed",
            other => other,
        },
        clean(&state.prefix),
        state.version,
        count(state.ledger_index),
        time_text(state.time),
        clean(&state.by),
    );
    for site in state.delegation.iter().flat_map(|delegation| &delegation.sites) {
        text.push_str(&format!("\n          site {} {}", site.serial, site_role_text(site)));
        for endpoint in &site.endpoints {
            text.push(' ');
            text.push_str(&clean(&endpoint_text(endpoint)));
        }
        if !site.key.is_empty() {
            text.push_str(&format!("\n            key {}", clean(&site.key)));
        }
    }
    text
}

/// As [`output::line`], for the tree, which is printed line by line.
fn print(text: &str) -> Result<(), Failure> {
    output::line(text)
}

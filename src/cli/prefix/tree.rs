//! `touchmark tree`: the delegations below a node, fetched from node to node.

use std::collections::HashSet;

use super::{clean, endpoint_text, pb, print};
use crate::{
    cli::{Server, failure::Failure},
    client::{Client, ClientError},
};

/// Maximum number of nodes asked.
const NODES_MAX: usize = 1_000;
/// Maximum depth of the tree; identifiers have fewer levels than that.
const DEPTH_MAX: usize = 32;

/// Draws the delegations below a node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark tree
  touchmark tree --server 192.0.2.1:50051 --depth 1

Every node below is asked over gRPC; one that does not answer is named with the reason, and so is a node that was drawn before.")]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// The levels of delegations to follow
    #[arg(long, value_name = "LEVELS", default_value_t = DEPTH_MAX)]
    depth: usize,
}

/// A prefix still to be drawn, with its place in the tree.
struct Branch {
    indent: String,
    depth: usize,
    state: pb::PrefixState,
    is_last: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if the first node does not answer.
pub fn run(args: &Args) -> Result<u8, Failure> {
    crate::cli::block_on(draw(args))
}

async fn draw(args: &Args) -> Result<u8, Failure> {
    let root = prefixes(&args.server.server).await?;
    let mut asked: HashSet<String> = HashSet::from([args.server.server.clone()]);
    print(&format!("{}  {}", clean(&args.server.server), clean(&root.key)))?;
    let mut branches = branches("", 1, root.prefixes);
    while let Some(branch) = branches.pop() {
        let (fork, below) = if branch.is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let children = follow(&branch, args.depth.min(DEPTH_MAX), &mut asked).await;
        let remark = match &children {
            Ok(_) => String::new(),
            Err(remark) => format!("  [{remark}]"),
        };
        let sites = branch.state.delegation.iter().flat_map(|delegation| &delegation.sites);
        let endpoints: Vec<String> = sites.flat_map(|site| site.endpoints.iter().map(endpoint_text)).collect();
        let what = if endpoints.is_empty() { "homed".into() } else { endpoints.join(" ") };
        print(&format!("{}{fork}{}  {}{remark}", branch.indent, clean(&branch.state.prefix), clean(&what)))?;
        let indent = format!("{}{below}", branch.indent);
        branches.extend(self::branches(&indent, branch.depth + 1, children.unwrap_or_default()));
    }
    Ok(0)
}

/// The prefixes below a branch, or the reason why they are not drawn.
async fn follow(
    branch: &Branch,
    depth_max: usize,
    asked: &mut HashSet<String>,
) -> Result<Vec<pb::PrefixState>, String> {
    let Some(delegation) = &branch.state.delegation else { return Ok(Vec::new()) };
    if branch.depth >= depth_max {
        return Ok(Vec::new());
    }
    let endpoints = delegation.sites.iter().flat_map(|site| &site.endpoints);
    let spoken = endpoints.filter(|endpoint| endpoint.protocol() == pb::endpoint::Protocol::Grpc);
    let servers: Vec<String> = spoken.map(|endpoint| endpoint_text(endpoint).replacen("grpc://", "", 1)).collect();
    if servers.iter().any(|server| asked.contains(server)) {
        return Err("drawn above".into());
    }
    if asked.len() >= NODES_MAX {
        return Err(format!("not asked: {NODES_MAX} nodes were, which is the limit"));
    }
    let mut reason = "speaks no gRPC".to_owned();
    for server in servers {
        asked.insert(server.clone());
        match prefixes(&server).await {
            Ok(page) => {
                let delegated = page.prefixes.into_iter();
                // The child's home of the prefix itself is the delegation seen from below.
                return Ok(delegated.filter(|state| state.prefix != branch.state.prefix).collect());
            }
            Err(error) => reason = clean(&error.to_string()).into_owned(),
        }
    }
    Err(reason)
}

fn branches(indent: &str, depth: usize, states: Vec<pb::PrefixState>) -> Vec<Branch> {
    let count = states.len();
    // A stack pops the last one first, so they are pushed in reverse.
    let branches = states.into_iter().enumerate().rev();
    let branch = |(nth, state)| Branch { indent: indent.to_owned(), depth, state, is_last: nth + 1 == count };
    branches.map(branch).collect()
}

/// All prefixes that a node homes and delegates.
async fn prefixes(server: &str) -> Result<pb::ListPrefixesResponse, ClientError> {
    let client = Client::connect(server).await?;
    let mut all = pb::ListPrefixesResponse::default();
    loop {
        let after = all.prefixes.last().map(|last| last.prefix.clone()).unwrap_or_default();
        let page = client.list_prefixes(pb::ListPrefixesRequest { after, limit: None }).await?;
        all.key = page.key;
        if page.prefixes.is_empty() {
            return Ok(all);
        }
        all.prefixes.extend(page.prefixes);
    }
}

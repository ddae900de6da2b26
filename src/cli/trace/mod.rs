//! `touchmark trace`: what something is made of and came from, or what it went into.
//!
//! [`tree`] shows it for people, [`dot`] for Graphviz, [`prov`] as W3C PROV.

mod dot;
mod prov;
mod tree;

pub use tree::amount;

use super::{
    Server,
    failure::Failure,
    output::{Out, clean, count},
};
use crate::{
    client::{Client, Incoming},
    protocol::{
        grpc::{
            TRACE_EDGES_MAX, TRACE_NODES_MAX,
            pb::{
                self,
                trace_node::State,
                trace_request::{At, Direction as Way},
            },
        },
        json::{
            self, Point, trace_edge_to_json, trace_node_to_json, trace_summary_to_json, trace_total_to_json,
            truncation_text,
        },
        outcome::Outcome,
    },
    record::EdgeType,
};

/// Follows edges from an identifier.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark trace 88.1000.LSN/GB120-3169 --names
  touchmark trace 88.1000.LSN/C1-120-5987 --direction up
  touchmark trace 88.1000.LSN/GB120-3169 --types all --depth 3 --as-of 2026-03-14T12:10:00Z
  touchmark trace 88.1000.LSN/GB120-3169 --dot | dot -Tsvg -o gearbox.svg
  touchmark trace 88.1000.LSN/GB120-3169 --prov > gearbox.provn.json

Down goes along the edges, from the record that carries them: to the parts, the origins, the package, the party, what was
replaced. Up goes the other way: where it is used, what came of it, what lies in it. Each identifier is followed once.
Totals are the sums over all paths of the products of the quantities; an edge without a quantity counts as 1. The inputs of
an event count whole, once; going up nothing is reckoned over an event.")]
pub struct Args {
    /// Where to begin, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    /// Which way to go
    #[arg(long, default_value = "down")]
    direction: Direction,
    /// Which edges to follow, with commas between them; `all` for all
    #[arg(long, value_name = "TYPES", default_value = "made-of,derived-from", value_parser = types)]
    types: Types,
    /// As it was behind a ledger entry, or at a time
    #[arg(long, value_name = "INDEX|TIME", value_parser = json::point)]
    as_of: Option<Point>,
    #[command(flatten)]
    limits: LimitOptions,
    /// Leave out edges that do not fit in time: what was built in after the thing itself had been built in
    #[arg(long)]
    respect_time: bool,
    /// Show names, too
    #[arg(long)]
    names: bool,
    /// Print one JSON object for each node, edge and total, and one for the end
    #[arg(long, group = "form")]
    json: bool,
    /// Print a graph for Graphviz
    #[arg(long, group = "form")]
    dot: bool,
    /// Print a W3C PROV-JSON document
    #[arg(long, group = "form")]
    prov: bool,
    #[command(flatten)]
    server: Server,
}

/// How far to go.
#[derive(Debug, clap::Args)]
pub struct LimitOptions {
    /// The most edges between the start and anything, at most 100
    #[arg(long, value_name = "N")]
    depth: Option<u32>,
    /// The most identifiers, at most 100,000
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// The most edges to follow from one identifier, at most 100,000
    #[arg(long, value_name = "N")]
    fan_out: Option<u32>,
    /// The most time, at most 60,000
    #[arg(long, value_name = "MILLISECONDS")]
    time_ms: Option<u32>,
}

impl LimitOptions {
    /// The limits as a message.
    pub fn message(&self) -> pb::TraceLimits {
        let Self { depth, nodes, fan_out, time_ms } = *self;
        pb::TraceLimits { depth, nodes, fan_out, time_ms }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Direction {
    Up,
    Down,
}

#[derive(Clone, Debug)]
struct Types(Vec<i32>);

fn types(text: &str) -> Result<Types, String> {
    if text == "all" {
        return Ok(Types(EdgeType::ALL.map(|kind| kind.code().into()).into()));
    }
    let kinds = text.split(',').map(|kind| kind.parse::<EdgeType>().map(|kind| kind.code().into()));
    kinds.collect::<Result<_, _>>().map(Types).map_err(|error| error.to_string())
}

/// A whole trace.
#[derive(Debug, Default)]
struct Traced {
    nodes: Vec<pb::TraceNode>,
    edges: Vec<pb::TraceEdge>,
    totals: Vec<pb::TraceTotal>,
    summary: pb::TraceSummary,
}

impl Traced {
    /// The identifier of a node; empty when the trace has no such node.
    fn identifier(&self, number: u32) -> &str {
        self.nodes.get(number as usize).map_or("", |node| &node.identifier)
    }

    /// Whether an edge closes a circle.
    fn is_cycle(&self, edge: &pb::TraceEdge) -> bool {
        self.summary.cycles.binary_search(&edge.number).is_ok()
    }

    /// The ends of the edges that close circles.
    fn cycles(&self) -> Vec<[&str; 2]> {
        let edges = self.summary.cycles.iter().filter_map(|number| self.edges.get(*number as usize));
        edges.map(|edge| [self.identifier(edge.from), self.identifier(edge.to)]).collect()
    }
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] when nobody answers or the node refuses; a start that was never registered shows in the exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let request = pb::TraceRequest {
        identifier: args.identifier.clone(),
        direction: match args.direction {
            Direction::Up => Way::Up.into(),
            Direction::Down => Way::Down.into(),
        },
        types: args.types.0.clone(),
        limits: Some(args.limits.message()),
        respect_time: args.respect_time,
        names: args.names,
        at: args.as_of.map(|point| match point {
            Point::Index(index) => At::LedgerIndex(index),
            Point::Time(time_ms) => At::Time(time_ms),
        }),
    };
    let mut out = Out::stdout();
    let traced = super::block_on(async {
        let messages = Client::connect(&args.server.server).await?.trace(request).await?;
        if args.json { lines(&mut out, messages).await } else { whole(messages).await }
    })?;
    match () {
        () if args.json => {}
        () if args.dot => dot::print(&mut out, &traced)?,
        () if args.prov => out.line(prov::document(&traced))?,
        () => tree::print(&mut out, &traced, args.direction)?,
    }
    out.flush()?;
    warn(&traced.summary);
    let is_nothing = traced.edges.is_empty() && traced.nodes.iter().all(|node| node.state() == State::Missing);
    if is_nothing {
        eprintln!("{}: {}", clean(&args.identifier), Outcome::NotFound.spelling().word);
        return Ok(Outcome::NotFound.spelling().exit);
    }
    Ok(0)
}

/// Says on the standard error output what a trace leaves out.
pub fn warn(summary: &pb::TraceSummary) {
    if !summary.truncated.is_empty() {
        let limits: Vec<_> = summary.truncated().map(truncation_text).collect();
        eprintln!("not complete, there is more than the limits allow: {}", limits.join(", "));
    }
    if summary.out_of_time > 0 {
        eprintln!("{} edges do not fit in time and were left out", count(summary.out_of_time.into()));
    }
}

/// Takes a whole trace.
async fn whole(mut messages: Incoming<pb::TraceResponse>) -> Result<Traced, Failure> {
    let mut traced = Traced::default();
    while let Some(message) = messages.next().await? {
        take(&mut traced, message)?;
    }
    Ok(traced)
}

/// Takes a trace and prints it as it comes.
async fn lines(out: &mut Out, mut messages: Incoming<pb::TraceResponse>) -> Result<Traced, Failure> {
    let mut traced = Traced::default();
    while let Some(message) = messages.next().await? {
        let (nodes, edges) = (traced.nodes.len(), traced.edges.len());
        let is_end = message.summary.is_some();
        take(&mut traced, message)?;
        traced.nodes.iter().skip(nodes).try_for_each(|node| out.line(trace_node_to_json(node)))?;
        for edge in traced.edges.iter().skip(edges) {
            out.line(trace_edge_to_json(edge, traced.identifier(edge.from), traced.identifier(edge.to)))?;
        }
        for total in std::mem::take(&mut traced.totals) {
            out.line(trace_total_to_json(&total, traced.identifier(total.node)))?;
        }
        if is_end {
            out.line(trace_summary_to_json(&traced.summary, Some(traced.cycles())))?;
        }
    }
    Ok(traced)
}

fn take(traced: &mut Traced, message: pb::TraceResponse) -> Result<(), Failure> {
    traced.nodes.extend(message.nodes);
    traced.edges.extend(message.edges);
    traced.totals.extend(message.totals);
    if let Some(mut summary) = message.summary {
        summary.cycles.sort_unstable();
        traced.summary = summary;
    }
    if traced.nodes.len() > TRACE_NODES_MAX || traced.edges.len() > TRACE_EDGES_MAX {
        return Err(Failure::new(format!(
            "the node sends more than the {TRACE_NODES_MAX} nodes that a trace may have"
        )));
    }
    Ok(())
}

//! `touchmark trace`: the parts and origins of an identifier, or the products it went into.
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
    /// The start, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    /// The direction to follow
    #[arg(long, default_value = "down")]
    direction: Direction,
    /// The edge types to follow, with commas between them; `all` for all
    #[arg(long, value_name = "TYPES", default_value = "made-of,derived-from", value_parser = types)]
    types: Types,
    /// The state as of a ledger entry, or at a time
    #[arg(long, value_name = "INDEX|TIME", value_parser = json::point)]
    as_of: Option<Point>,
    #[command(flatten)]
    limits: LimitOptions,
    /// Leave out edges whose time does not fit: a part built in after the product itself had been built in
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

/// Limits of a trace.
#[derive(Debug, clap::Args)]
pub struct LimitOptions {
    /// The maximum number of edges between the start and any other identifier, at most 100
    #[arg(long, value_name = "N")]
    depth: Option<u32>,
    /// The maximum number of identifiers, at most 100,000
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// The maximum number of edges to follow from one identifier, at most 100,000
    #[arg(long, value_name = "N")]
    fan_out: Option<u32>,
    /// The maximum time, at most 60,000
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
struct Trace {
    nodes: Vec<pb::TraceNode>,
    edges: Vec<pb::TraceEdge>,
    totals: Vec<pb::TraceTotal>,
    summary: pb::TraceSummary,
}

impl Trace {
    /// The identifier of a node; empty if the trace has no such node.
    fn identifier(&self, number: u32) -> &str {
        self.nodes.get(number as usize).map_or("", |node| &node.identifier)
    }

    /// True if an edge closes a cycle.
    fn is_cycle(&self, edge: &pb::TraceEdge) -> bool {
        self.summary.cycles.binary_search(&edge.number).is_ok()
    }

    /// The ends of the edges that close cycles.
    fn cycles(&self) -> Vec<[&str; 2]> {
        let edges = self.summary.cycles.iter().filter_map(|number| self.edges.get(*number as usize));
        edges.map(|edge| [self.identifier(edge.from), self.identifier(edge.to)]).collect()
    }
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if no node answers or the node refuses; a start that was never registered shows in the exit code.
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
    let trace = super::block_on(async {
        let messages = Client::connect(&args.server.server).await?.trace(request).await?;
        if args.json { lines(&mut out, messages).await } else { whole(messages).await }
    })?;
    if args.dot {
        dot::print(&mut out, &trace)?;
    } else if args.prov {
        out.line(prov::document(&trace))?;
    } else if !args.json {
        tree::print(&mut out, &trace, args.direction)?;
    }
    out.flush()?;
    warn(&trace.summary);
    let is_nothing = trace.edges.is_empty() && trace.nodes.iter().all(|node| node.state() == State::Missing);
    if is_nothing {
        eprintln!("{}: {}", clean(&args.identifier), Outcome::NotFound.spelling().word);
        return Ok(Outcome::NotFound.spelling().exit);
    }
    Ok(0)
}

/// Warns on the standard error output about the parts that a trace leaves out.
pub fn warn(summary: &pb::TraceSummary) {
    if !summary.truncated.is_empty() {
        let limits: Vec<_> = summary.truncated().map(truncation_text).collect();
        eprintln!("not complete, there is more than the limits allow: {}", limits.join(", "));
    }
    if summary.out_of_time > 0 {
        eprintln!("{} edges do not fit in time and were left out", count(summary.out_of_time.into()));
    }
}

/// Receives a whole trace.
async fn whole(mut messages: Incoming<pb::TraceResponse>) -> Result<Trace, Failure> {
    let mut trace = Trace::default();
    while let Some(message) = messages.next().await? {
        take(&mut trace, message)?;
    }
    Ok(trace)
}

/// Receives a trace and prints it as JSON lines as it arrives.
async fn lines(out: &mut Out, mut messages: Incoming<pb::TraceResponse>) -> Result<Trace, Failure> {
    let mut trace = Trace::default();
    while let Some(message) = messages.next().await? {
        let nodes = trace.nodes.len();
        let edges = trace.edges.len();
        let is_end = message.summary.is_some();
        take(&mut trace, message)?;
        trace.nodes.iter().skip(nodes).try_for_each(|node| out.line(trace_node_to_json(node)))?;
        for edge in trace.edges.iter().skip(edges) {
            out.line(trace_edge_to_json(edge, trace.identifier(edge.from), trace.identifier(edge.to)))?;
        }
        for total in std::mem::take(&mut trace.totals) {
            out.line(trace_total_to_json(&total, trace.identifier(total.node)))?;
        }
        if is_end {
            out.line(trace_summary_to_json(&trace.summary, Some(trace.cycles())))?;
        }
    }
    Ok(trace)
}

fn take(trace: &mut Trace, message: pb::TraceResponse) -> Result<(), Failure> {
    trace.nodes.extend(message.nodes);
    trace.edges.extend(message.edges);
    trace.totals.extend(message.totals);
    if let Some(mut summary) = message.summary {
        summary.cycles.sort_unstable();
        trace.summary = summary;
    }
    if trace.nodes.len() > TRACE_NODES_MAX || trace.edges.len() > TRACE_EDGES_MAX {
        return Err(Failure::new(format!(
            "the node sends more than the {TRACE_NODES_MAX} nodes that a trace may have"
        )));
    }
    Ok(())
}

//! A trace as a tree: a node that was shown with its branches is not shown with them again.

use super::{Direction, Trace};
use crate::{
    cli::{
        failure::Failure,
        output::{Out, clean, count, details},
    },
    protocol::{
        grpc::pb::{self, trace_node::State},
        json::{edge_type_text, trace_state_text},
    },
};

/// An edge still to be shown, with its place in the tree.
struct TreeEdge<'a> {
    edge: &'a pb::TraceEdge,
    far: u32,
    /// Text in front of the branches of the parent node.
    indent: String,
    is_last: bool,
}

/// Prints a trace.
///
/// # Errors
///
/// [`Failure::stdout`].
pub(super) fn print(out: &mut Out, trace: &Trace, direction: Direction) -> Result<(), Failure> {
    let mut edges: Vec<Vec<&pb::TraceEdge>> = vec![Vec::new(); trace.nodes.len()];
    for edge in &trace.edges {
        let near = if direction == Direction::Down { edge.from } else { edge.to };
        if let Some(edges) = edges.get_mut(near as usize) {
            edges.push(edge);
        }
    }
    let Some(start) = trace.nodes.first() else { return Ok(()) };
    out.line(label(start))?;
    let mut shown = vec![false; trace.nodes.len()];
    let mut stack = Vec::new();
    push(&mut stack, &edges, 0, direction, "");
    if let Some(start) = shown.first_mut() {
        *start = true;
    }
    while let Some(TreeEdge { edge, far, indent, is_last }) = stack.pop() {
        let Some(node) = trace.nodes.get(far as usize) else { continue };
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let has_more = edges.get(far as usize).is_some_and(|edges| !edges.is_empty());
        let again = shown.get(far as usize).is_none_or(|shown| *shown);
        let mark = if trace.is_cycle(edge) {
            "  (cycle)"
        } else if again && has_more {
            "  (above)"
        } else {
            ""
        };
        let kind = edge_type_text(edge.r#type);
        let details = details(&edge.quantity, &edge.unit, edge.valid_from);
        out.line(format_args!("{indent}{branch}{kind} {}{details}{mark}", label(node)))?;
        if !again {
            shown[far as usize] = true;
            push(&mut stack, &edges, far, direction, &format!("{indent}{below}"));
        }
    }
    totals(out, trace)
}

/// Puts the edges of node `of` on top of the stack, so that they are shown next.
fn push<'a>(
    stack: &mut Vec<TreeEdge<'a>>,
    edges: &[Vec<&'a pb::TraceEdge>],
    of: u32,
    direction: Direction,
    indent: &str,
) {
    let below = edges.get(of as usize).map_or(&[][..], Vec::as_slice);
    for (place, edge) in below.iter().enumerate().rev() {
        let far = if direction == Direction::Down { edge.to } else { edge.from };
        stack.push(TreeEdge { edge, far, indent: indent.to_owned(), is_last: place + 1 == below.len() });
    }
}

fn label(node: &pb::TraceNode) -> String {
    let mut label = clean(&node.identifier).into_owned();
    if !node.name.is_empty() {
        label.push_str(&format!(" \"{}\"", clean(&node.name)));
    }
    match node.state() {
        State::Active => {}
        State::Delegated => label.push_str(&format!(" [another node answers for {}]", clean(&node.delegated_prefix))),
        state => label.push_str(&format!(" [{}]", trace_state_text(state))),
    }
    label
}

fn totals(out: &mut Out, trace: &Trace) -> Result<(), Failure> {
    let totals = || trace.totals.iter().filter(|total| !total.amounts.is_empty());
    if totals().next().is_some() {
        out.line("\nTotals:")?;
    }
    for total in totals() {
        let amounts: Vec<_> = total.amounts.iter().map(amount).collect();
        out.line(format_args!("  {}  {}", clean(trace.identifier(total.node)), amounts.join(" + ")))?;
    }
    let pb::TraceSummary { nodes, edges, missing, retired, as_of, .. } = trace.summary;
    let mut line = format!("\n{} nodes, {} edges", count(nodes.into()), count(edges.into()));
    for (number, what) in [(missing, "missing"), (retired, "retired"), (trace.summary.cycles.len() as u32, "cycles")] {
        if number > 0 {
            line.push_str(&format!(", {} {what}", count(number.into())));
        }
    }
    match as_of {
        Some(index) => out.line(format_args!("{line}, as of ledger index {index}")),
        None => out.line(format_args!("{line}, before the first ledger entry")),
    }
}

/// An amount with its unit, for people.
pub fn amount(amount: &pb::TraceAmount) -> String {
    let number = if amount.quantity.is_empty() { "more than 28 digits of" } else { &amount.quantity };
    let text = format!("{} {}", clean(number), clean(&amount.unit));
    text.trim_end().to_owned()
}

//! A trace as a tree: what was shown above with all that is below it is not repeated.

use super::{Direction, Traced};
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

/// An edge that is to be shown, and where in the tree.
struct Turn<'a> {
    edge: &'a pb::TraceEdge,
    far: u32,
    /// What stands before the branches of the node that it hangs on.
    indent: String,
    is_last: bool,
}

/// Prints a trace.
///
/// # Errors
///
/// [`Failure::stdout`].
pub(super) fn print(out: &mut Out, traced: &Traced, direction: Direction) -> Result<(), Failure> {
    let mut edges: Vec<Vec<&pb::TraceEdge>> = vec![Vec::new(); traced.nodes.len()];
    for edge in &traced.edges {
        let near = if direction == Direction::Down { edge.from } else { edge.to };
        if let Some(edges) = edges.get_mut(near as usize) {
            edges.push(edge);
        }
    }
    let Some(start) = traced.nodes.first() else { return Ok(()) };
    out.line(label(start))?;
    let mut shown = vec![false; traced.nodes.len()];
    let mut turns = Vec::new();
    push(&mut turns, &edges, (0, direction), "");
    if let Some(start) = shown.first_mut() {
        *start = true;
    }
    while let Some(Turn { edge, far, indent, is_last }) = turns.pop() {
        let Some(node) = traced.nodes.get(far as usize) else { continue };
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let has_more = edges.get(far as usize).is_some_and(|edges| !edges.is_empty());
        let again = shown.get(far as usize).is_none_or(|shown| *shown);
        let mark = match () {
            () if traced.is_cycle(edge) => "  (cycle)",
            () if again && has_more => "  (above)",
            () => "",
        };
        let kind = edge_type_text(edge.r#type);
        let details = details(&edge.quantity, &edge.unit, edge.valid_from);
        out.line(format_args!("{indent}{branch}{kind} {}{details}{mark}", label(node)))?;
        if !again {
            shown[far as usize] = true;
            push(&mut turns, &edges, (far, direction), &format!("{indent}{below}"));
        }
    }
    totals(out, traced)
}

/// Puts the edges of a node before everything else that is to be shown.
fn push<'a>(
    turns: &mut Vec<Turn<'a>>,
    edges: &[Vec<&'a pb::TraceEdge>],
    (of, direction): (u32, Direction),
    indent: &str,
) {
    let below = edges.get(of as usize).map_or(&[][..], Vec::as_slice);
    for (place, edge) in below.iter().enumerate().rev() {
        let far = if direction == Direction::Down { edge.to } else { edge.from };
        turns.push(Turn { edge, far, indent: indent.to_owned(), is_last: place + 1 == below.len() });
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

fn totals(out: &mut Out, traced: &Traced) -> Result<(), Failure> {
    let totals = || traced.totals.iter().filter(|total| !total.amounts.is_empty());
    if totals().next().is_some() {
        out.line("\nTotals:")?;
    }
    for total in totals() {
        let amounts: Vec<_> = total.amounts.iter().map(amount).collect();
        out.line(format_args!("  {}  {}", clean(traced.identifier(total.node)), amounts.join(" + ")))?;
    }
    let pb::TraceSummary { nodes, edges, missing, retired, as_of, .. } = traced.summary;
    let mut line = format!("\n{} nodes, {} edges", count(nodes.into()), count(edges.into()));
    for (number, what) in [(missing, "missing"), (retired, "retired"), (traced.summary.cycles.len() as u32, "cycles")] {
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

//! A trace as a graph in the DOT language of Graphviz.

use super::Trace;
use crate::{
    cli::{
        failure::Failure,
        output::{Out, clean},
    },
    protocol::{
        grpc::pb::{self, trace_node::State},
        json::{edge_type_text, trace_state_text},
    },
};

/// Prints a trace; arrows point from the record that carries the edge.
///
/// # Errors
///
/// [`Failure::stdout`].
pub(super) fn print(out: &mut Out, trace: &Trace) -> Result<(), Failure> {
    out.line("digraph trace {\n  rankdir=LR;\n  node [shape=box];")?;
    for node in &trace.nodes {
        out.line(format_args!("  n{} [{}];", node.number, attributes(node)))?;
    }
    for edge in &trace.edges {
        let mut label = edge_type_text(edge.r#type).to_owned();
        for part in [&edge.quantity, &edge.unit].into_iter().filter(|part| !part.is_empty()) {
            label.push(' ');
            label.push_str(part);
        }
        let colour = if trace.is_cycle(edge) { ", color=red" } else { "" };
        out.line(format_args!("  n{} -> n{} [label={}{colour}];", edge.from, edge.to, quoted(&[&label])))?;
    }
    out.line("}")
}

fn attributes(node: &pb::TraceNode) -> String {
    let label = match node.state() {
        State::Active | State::Event => quoted(&[&node.identifier, &node.name]),
        state => quoted(&[&node.identifier, &node.name, trace_state_text(state)]),
    };
    let look = match node.state() {
        State::Event => ", shape=ellipse",
        State::Retired | State::Withdrawn | State::Erased => ", style=dashed",
        State::Missing | State::Delegated => ", style=dotted",
        State::Active | State::Unspecified => "",
    };
    format!("label={label}{look}")
}

/// Lines as a quoted string; empty ones are left out. Quotes and backslashes are escaped.
fn quoted(lines: &[&str]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .filter(|line| !line.is_empty())
        .map(|line| clean(line).replace('\\', "\\\\").replace('"', "\\\""))
        .collect();
    format!("\"{}\"", lines.join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_string_but_its_end() {
        assert_eq!(quoted(&["a\"]; b", "", "c\\"]), r#""a\"]; b\nc\\""#);
        assert_eq!(quoted(&["a\n\u{1b}"]), r#""a\\n\\u{1b}""#);
    }
}

//! Events: transformations of inputs into outputs, each registered by one entry.
//!
//! An event is registered under an identifier of its own. It is derived from each of its inputs, and each of its
//! outputs is derived from it. An event is never changed: a wrong one is retired, and registered again under another
//! identifier.

use super::{Amount, Edge, EdgeType, Quantity, RecordError, Unit};
use crate::id::Identifier;

/// An input or output of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The identifier that goes in or comes out.
    pub identifier: Identifier,
    /// Quantity, with its unit if it has one.
    pub quantity: Option<(Quantity, Option<Unit>)>,
    /// Start of validity, milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
}

/// Outputs of an event, and the unit in which it balances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// The outputs, at least one.
    pub flows: Vec<Flow>,
    /// Unit in which the sum of the inputs equals the sum of the outputs; `None` if nothing is to balance.
    pub balance: Option<Unit>,
}

/// A transformation of inputs into outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The inputs, at least one.
    pub inputs: Vec<Flow>,
    /// The outputs.
    pub outputs: Outputs,
}

/// Refusal of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// One side has no flow, or too many.
    #[error("the event has {count} {side}; give 1 to {}", Event::FLOWS_MAX)]
    Count {
        /// `inputs` or `outputs`.
        side: &'static str,
        /// Number of flows.
        count: usize,
    },
    /// The event is one of its own inputs or outputs.
    #[error("the event is one of its own {side}")]
    Itself {
        /// `inputs` or `outputs`.
        side: &'static str,
    },
    /// An identifier is given twice on one side.
    #[error("`{identifier}` is given twice among the {side} of the event")]
    Twice {
        /// `inputs` or `outputs`.
        side: &'static str,
        /// The identifier.
        identifier: String,
    },
    /// No flow of one side has a quantity in the unit of the balance.
    #[error("the event is to balance in `{unit}`, and none of its {side} has a quantity in that unit")]
    NothingToBalance {
        /// The unit.
        unit: String,
        /// `inputs` or `outputs`.
        side: &'static str,
    },
    /// The sums differ.
    #[error("the event does not balance: {inputs} {unit} go in, and {outputs} {unit} come out")]
    Unbalanced {
        /// The unit.
        unit: String,
        /// Sum of the inputs.
        inputs: String,
        /// Sum of the outputs.
        outputs: String,
    },
    /// A sum has too many digits to be exact.
    #[error("the {side} of the event in `{unit}` have too many digits to be added exactly; the limit is 28 digits")]
    TooManyDigits {
        /// The unit.
        unit: String,
        /// `inputs` or `outputs`.
        side: &'static str,
    },
    /// A part breaks a rule of edges.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Flow {
    /// The edge by which an event is derived from an input.
    pub fn edge(&self) -> Edge {
        self.clone().into_edge()
    }

    /// As [`Flow::edge`], without a copy.
    pub fn into_edge(self) -> Edge {
        let Self { identifier, quantity, valid_from_ms } = self;
        Edge { kind: EdgeType::DerivedFrom, to: identifier, quantity, valid_from_ms }
    }
}

impl From<Edge> for Flow {
    fn from(edge: Edge) -> Self {
        Self { identifier: edge.to, quantity: edge.quantity, valid_from_ms: edge.valid_from_ms }
    }
}

impl Event {
    /// Maximum number of inputs of an event, and of outputs. The maximum length of a ledger entry bounds both, too.
    pub const FLOWS_MAX: usize = 1_000;

    /// Checks the rules that the types of the fields do not enforce; `own` is the identifier of the event.
    ///
    /// # Errors
    ///
    /// [`EventError`] with the first rule that is broken.
    pub fn check(&self, own: &Identifier) -> Result<(), EventError> {
        let sides = [("inputs", &self.inputs), ("outputs", &self.outputs.flows)];
        for (side, flows) in sides {
            if !(1..=Self::FLOWS_MAX).contains(&flows.len()) {
                return Err(EventError::Count { side, count: flows.len() });
            }
            let mut identifiers: Vec<_> = flows.iter().map(|flow| &flow.identifier).collect();
            if identifiers.contains(&own) {
                return Err(EventError::Itself { side });
            }
            identifiers.sort_unstable();
            if let Some(pair) = identifiers.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(EventError::Twice { side, identifier: pair[0].to_string() });
            }
            flows.iter().try_for_each(|flow| flow.edge().check())?;
        }
        let Some(unit) = &self.outputs.balance else { return Ok(()) };
        let sums = sides.map(|(side, flows)| sum(side, flows, unit));
        let [inputs, outputs] = sums;
        let inputs = inputs?;
        let outputs = outputs?;
        if inputs == outputs {
            return Ok(());
        }
        let unit = unit.as_str().to_owned();
        let inputs = inputs.to_string();
        let outputs = outputs.to_string();
        Err(EventError::Unbalanced { unit, inputs, outputs })
    }

    /// True if both events have the same inputs, outputs and balance, in any order.
    pub fn same(&self, other: &Self) -> bool {
        self.outputs.balance == other.outputs.balance
            && same_flows(&self.inputs, &other.inputs)
            && same_flows(&self.outputs.flows, &other.outputs.flows)
    }
}

/// The sum of the quantities in a unit; flows without a quantity in it do not count.
fn sum(side: &'static str, flows: &[Flow], unit: &Unit) -> Result<Amount, EventError> {
    let counted = flows.iter().filter_map(|flow| match &flow.quantity {
        Some((quantity, Some(of))) if of == unit => Some(quantity),
        _ => None,
    });
    let mut sum = None;
    for quantity in counted {
        let added = Amount::of(quantity).and_then(|amount| sum.unwrap_or(Amount::ZERO).checked_add(amount));
        sum = Some(added.ok_or_else(|| EventError::TooManyDigits { unit: unit.as_str().into(), side })?);
    }
    sum.ok_or_else(|| EventError::NothingToBalance { unit: unit.as_str().into(), side })
}

fn same_flows(these: &[Flow], those: &[Flow]) -> bool {
    let sorted = |flows: &[Flow]| {
        let mut flows = flows.to_vec();
        flows.sort_by(|a, b| a.identifier.cmp(&b.identifier));
        flows
    };
    these.len() == those.len() && sorted(these) == sorted(those)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(text: &str) -> Flow {
        let mut words = text.split(' ');
        let identifier = Identifier::parse(words.next().unwrap()).unwrap();
        let quantity =
            words.next().map(|number| (number.parse().unwrap(), words.next().map(|unit| unit.parse().unwrap())));
        Flow { identifier, quantity, valid_from_ms: None }
    }

    fn check(inputs: &[&str], outputs: &[&str], balance: Option<&str>) -> String {
        let flows = |texts: &[&str]| texts.iter().map(|text| flow(text)).collect::<Vec<_>>();
        let balance = balance.map(|unit| unit.parse().unwrap());
        let event = Event { inputs: flows(inputs), outputs: Outputs { flows: flows(outputs), balance } };
        let checked = event.check(&Identifier::parse("88.1/event").unwrap());
        checked.map_or_else(|error| error.to_string(), |()| "ok".into())
    }

    #[test]
    fn balances_and_refusals() {
        type Row = (&'static [&'static str], &'static [&'static str], Option<&'static str>, &'static str);
        let table: &[Row] = &[
            (&["88.1/a"], &["88.1/b"], None, "ok"),
            (&["88.1/a 1 kg"], &["88.1/b 2 kg"], None, "ok"),
            (
                &["88.1/a 1.50 kg", "88.1/b 0.5 kg"],
                &["88.1/c 1 kg", "88.1/d 1.0 kg", "88.1/e 7 piece"],
                Some("kg"),
                "ok",
            ),
            (&["88.1/a 0 kg"], &["88.1/b 0.0 kg"], Some("kg"), "ok"),
            (&["88.1/a 1 kg"], &["88.1/a 1 kg"], Some("kg"), "ok"),
            (&[], &["88.1/b"], None, "the event has 0 inputs; give 1 to 1000"),
            (&["88.1/a"], &[], None, "the event has 0 outputs; give 1 to 1000"),
            (&["88.1/EVENT"], &["88.1/b"], None, "the event is one of its own inputs"),
            (&["88.1/a"], &["88.1/event"], None, "the event is one of its own outputs"),
            (&["88.1/a", "88.1/A"], &["88.1/b"], None, "`88.1/a` is given twice among the inputs of the event"),
            (
                &["88.1/a 1 kg"],
                &["88.1/b 0.9 kg", "88.1/c 0.01 kg"],
                Some("kg"),
                "the event does not balance: 1 kg go in, and 0.91 kg come out",
            ),
            (
                &["88.1/a 1 kg"],
                &["88.1/b 1"],
                Some("kg"),
                "the event is to balance in `kg`, and none of its outputs has a quantity in that unit",
            ),
            (
                &["88.1/a 12345678901234567890123456789012 kg"],
                &["88.1/b 1 kg"],
                Some("kg"),
                "the inputs of the event in `kg` have too many digits to be added exactly; the limit is 28 digits",
            ),
        ];
        for (inputs, outputs, balance, expected) in table {
            assert_eq!(check(inputs, outputs, *balance), *expected, "{inputs:?} {outputs:?}");
        }
    }
}

//! A trace as PROV-JSON (W3C Member Submission of 24 April 2013) of the PROV data model (W3C Recommendation PROV-DM).
//!
//! A record is an entity, an event an activity, the party of a transferred-to edge an agent.
//!
//! | edge | relation |
//! |---|---|
//! | to an input of an event; from an output of an event | `used`; `wasGeneratedBy` |
//! | between events | `wasInformedBy` |
//! | made-of, derived-from | `wasDerivedFrom` |
//! | replaces | `wasDerivedFrom` of type `prov:Revision` |
//! | packed-in | `hadMember`, the package being a `prov:Collection` |
//! | transferred-to | `wasAttributedTo` |
//!
//! Relations carry type, ledger index, quantity and unit; `hadMember` alone takes no attributes (PROV-DM section
//! 5.6.2).

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::Trace;
use crate::protocol::{
    grpc::pb::{self, EdgeType, trace_node::State},
    json::{edge_type_text, signed_time_text, trace_state_text},
};

/// The PROV-JSON document of a trace.
pub(super) fn document(trace: &Trace) -> Json {
    let mut document = Map::new();
    document.insert(
        "prefix".into(),
        json!({
            "item": "urn:x-touchmark:item:",
            "tm": "urn:x-touchmark:term:",
            "xsd": "http://www.w3.org/2001/XMLSchema#",
        }),
    );
    let things = |edge: &pb::TraceEdge| {
        let ends = [edge.from, edge.to].map(|end| trace.nodes.get(end as usize));
        ends.into_iter().flatten().all(|end| !is_event(end))
    };
    // A party is an agent, and an entity only if another relation names it, too.
    let mut agents = HashSet::new();
    let mut entities = HashSet::from([0]);
    let mut packages = HashSet::new();
    for edge in &trace.edges {
        entities.insert(edge.from);
        let kind = edge.r#type();
        if kind == EdgeType::TransferredTo && things(edge) {
            agents.insert(edge.to);
            continue;
        }
        entities.insert(edge.to);
        if kind == EdgeType::PackedIn && things(edge) {
            packages.insert(edge.to);
        }
    }
    for node in &trace.nodes {
        let mut attributes = attributes(node);
        if packages.contains(&node.number) {
            attributes.insert("prov:type".into(), json!({"$": "prov:Collection", "type": "xsd:QName"}));
        }
        let sections = if is_event(node) {
            [("activity", true), ("agent", false), ("entity", false)]
        } else {
            let number = &node.number;
            [("activity", false), ("agent", agents.contains(number)), ("entity", entities.contains(number))]
        };
        for (section, _) in sections.into_iter().filter(|(_, is_in)| *is_in) {
            put(&mut document, section, name(&node.identifier), attributes.clone());
        }
    }
    for edge in &trace.edges {
        if let (Some(from), Some(to)) = (trace.nodes.get(edge.from as usize), trace.nodes.get(edge.to as usize)) {
            relation(&mut document, edge, from, to);
        }
    }
    Json::Object(document)
}

fn relation(document: &mut Map<String, Json>, edge: &pb::TraceEdge, from: &pb::TraceNode, to: &pb::TraceNode) {
    let revision = edge.r#type() == EdgeType::Replaces;
    let (relation, roles) = match (is_event(from), is_event(to), edge.r#type()) {
        (true, true, _) => ("wasInformedBy", ["prov:informed", "prov:informant"]),
        (true, false, _) => ("used", ["prov:activity", "prov:entity"]),
        (false, true, _) => ("wasGeneratedBy", ["prov:entity", "prov:activity"]),
        (false, false, EdgeType::PackedIn) => ("hadMember", ["prov:entity", "prov:collection"]),
        (false, false, EdgeType::TransferredTo) => ("wasAttributedTo", ["prov:entity", "prov:agent"]),
        (false, false, _) => ("wasDerivedFrom", ["prov:generatedEntity", "prov:usedEntity"]),
    };
    let mut said = Map::new();
    for (role, node) in roles.into_iter().zip([from, to]) {
        said.insert(role.into(), name(&node.identifier).into());
    }
    if relation != "hadMember" {
        said.insert("tm:edge".into(), edge_type_text(edge.r#type).into());
        said.insert("tm:ledgerIndex".into(), edge.ledger_index.into());
        for (attribute, text) in [("tm:quantity", &edge.quantity), ("tm:unit", &edge.unit)] {
            if !text.is_empty() {
                said.insert(attribute.into(), text.as_str().into());
            }
        }
        if let Some(ms) = edge.valid_from {
            if matches!(relation, "used" | "wasGeneratedBy") {
                said.insert("prov:time".into(), signed_time_text(ms).into());
            } else {
                said.insert("tm:validFrom".into(), json!({"$": signed_time_text(ms), "type": "xsd:dateTime"}));
            }
        }
        if revision && relation == "wasDerivedFrom" {
            said.insert("prov:type".into(), json!({"$": "prov:Revision", "type": "xsd:QName"}));
        }
    }
    put(document, relation, format!("_:e{}", edge.number), said);
}

fn attributes(node: &pb::TraceNode) -> Map<String, Json> {
    let mut attributes = Map::new();
    attributes.insert("tm:identifier".into(), node.identifier.as_str().into());
    attributes.insert("tm:state".into(), trace_state_text(node.state()).into());
    if node.version > 0 {
        attributes.insert("tm:version".into(), node.version.into());
        attributes.insert("tm:ledgerIndex".into(), node.ledger_index.into());
    }
    if !node.name.is_empty() {
        attributes.insert("prov:label".into(), node.name.as_str().into());
    }
    attributes
}

fn is_event(node: &pb::TraceNode) -> bool {
    matches!(node.state(), State::Event | State::Withdrawn)
}

fn put(document: &mut Map<String, Json>, section: &str, name: String, said: Map<String, Json>) {
    let section = document.entry(section).or_insert_with(|| Json::Object(Map::new()));
    if let Json::Object(section) = section {
        section.insert(name, Json::Object(said));
    }
}

/// The qualified name of an identifier: all characters but the unreserved ones of RFC 3986 are percent-encoded.
fn name(identifier: &str) -> String {
    let mut name = "item:".to_owned();
    for byte in identifier.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => name.push(byte.into()),
            byte => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

//! Events: accepted, refused, shown, traced, withdrawn, exported; and recalls through events.

use touchmark::protocol::{
    grpc::{CommandBatch, pb::command::Operation},
    json::{create_from_line, record_to_json},
};

use super::*;

fn flow(text: &str) -> pb::Flow {
    let mut words = text.split(' ').map(str::to_owned);
    let identifier = format!("88.1/{}", words.next().unwrap());
    let (quantity, unit) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    pb::Flow { identifier, quantity, unit, valid_from: None }
}

fn event(of: &str, inputs: &[&str], outputs: &[&str], balance: &str) -> pb::Command {
    let flows = |texts: &[&str]| texts.iter().map(|text| flow(text)).collect();
    let (inputs, outputs, balance) = (flows(inputs), flows(outputs), balance.to_owned());
    let event = pb::Event { values: vec![value(1, "NAME", of)], inputs, outputs, balance };
    pb::Command { identifier: format!("88.1/{of}"), operation: Some(Operation::Event(event)), ..pb::Command::default() }
}

fn melt() -> pb::Command {
    event("melt", &["coil 10.5 kg", "scrap 1.50 kg", "flux"], &["sheet 7 kg", "slag 5.0 kg", "heat 3 kWh"], "kg")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_joins_inputs_and_outputs() {
    let data = directory();
    let running = Running::start(data.path()).await;
    made_of(&running, "sheet", &[]).await;
    let receipt = running.apply(request("once", melt())).await.unwrap();
    let again = running.apply(request("once", melt())).await.unwrap();
    assert!(again.replayed && again.ledger_index == receipt.ledger_index);
    made_of(&running, "door", &[part("sheet", "2", "kg", None)]).await;

    let traced = trace(&running, down("88.1/door")).await.unwrap();
    assert_eq!(traced.shown(), "door>sheet 2 kg, melt>coil 10.5 kg, melt>flux, melt>scrap 1.50 kg, sheet>melt 7 kg");
    let edge = traced.edges.iter().find(|edge| edge.said_by_event).unwrap();
    assert_eq!((traced.name(edge.from), edge.ledger_index), ("88.1/sheet", receipt.ledger_index));
    assert_eq!((traced.state("88.1/melt"), traced.state("88.1/coil")), (State::Event, State::Missing));
    // Each input counts in full, once; going up, no quantities are computed across an event.
    assert_eq!((&*traced.totals()["88.1/coil"], &*traced.totals()["88.1/melt"]), ("10.5 kg", "1"));
    let traced = trace(&running, up("88.1/coil")).await.unwrap();
    assert_eq!(
        traced.shown(),
        "door>sheet 2 kg, heat>melt 3 kWh, melt>coil 10.5 kg, sheet>melt 7 kg, slag>melt 5.0 kg"
    );

    // The event names its outputs; the records of the outputs stay unchanged.
    let record = running.found("88.1/melt").await;
    let shown =
        "1 NAME=melt · derived-from 88.1/coil x10.5kg · derived-from 88.1/flux · derived-from 88.1/scrap x1.50kg";
    assert_eq!(content(&record), shown);
    let said = record.event.unwrap();
    assert_eq!((said.outputs.len(), said.balance.as_str()), (3, "kg"));
    assert_eq!(content(&running.found("88.1/sheet").await), "1 NAME=sheet");
    let request = pb::HistoryRequest { identifier: "88.1/melt".into(), limit: None, before: None };
    let history = AuditorClient::new(running.channel()).history(request).await.unwrap().into_inner();
    assert_eq!(history.versions[0].kind(), pb::version_change::Kind::Event);
    assert_eq!(history.versions[0].edges_added.len(), 3);
    assert_eq!(history.versions[0].record.as_ref().unwrap().event.as_ref().unwrap().outputs.len(), 3);

    // After its retirement the event does not count; as of an earlier moment it does.
    let last = running.apply(retire("88.1/melt")).await.unwrap().ledger_index;
    let traced = trace(&running, down("88.1/door")).await.unwrap();
    assert_eq!(traced.shown(), "door>sheet 2 kg, sheet>melt 7 kg");
    assert_eq!(traced.state("88.1/melt"), State::Withdrawn);
    assert_eq!(trace(&running, at(last - 1, down("88.1/door"))).await.unwrap().edges.len(), 5);
    running.stop().await;
    assert_eq!(touchmark::app::fsck(data.path(), &mut |_| {}).unwrap().entries, 4);
    // The index is rebuilt from the ledger, with both ends of every edge.
    touchmark::app::rebuild(data.path(), &mut |_| {}).unwrap();
    let running = Running::start(data.path()).await;
    assert_eq!(trace(&running, at(last - 1, up("88.1/flux"))).await.unwrap().edges.len(), 5);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_none_are_refused() {
    let data = directory();
    let running = Running::start(data.path()).await;
    running.apply(melt()).await.unwrap();
    made_of(&running, "there", &[]).await;
    let many: Vec<String> = (0..1_001).map(|number| format!("p{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let change = merge("88.1/melt", vec![value(2, "NOTE", "x")], vec![]);
    let table = [
        (
            event("e", &["a 1 kg"], &["b 1 kg", "c 0.5 kg"], "kg"),
            Code::InvalidArgument,
            "1 kg go in, and 1.5 kg come out",
        ),
        (
            event("e", &["a 1 kg"], &["b 1 g"], "kg"),
            Code::InvalidArgument,
            "none of its outputs has a quantity in that unit",
        ),
        (event("e", &[], &["b"], ""), Code::InvalidArgument, "0 inputs"),
        (event("e", &["a"], &[], ""), Code::InvalidArgument, "0 outputs"),
        (event("e", &["a", "A"], &["b"], ""), Code::InvalidArgument, "given twice among the inputs"),
        (event("e", &["a"], &["E"], ""), Code::InvalidArgument, "one of its own outputs"),
        (event("e", &["a"], &many, ""), Code::InvalidArgument, "1001 outputs; give 1 to 1000"),
        (event("e", &["a 1 kg"], &["b -1 kg"], ""), Code::InvalidArgument, "quantity `-1`"),
        (event("e", &["a"], &["b"], "k g"), Code::InvalidArgument, "unit `k g`"),
        (change, Code::FailedPrecondition, "an event is never changed"),
        (create("88.1/melt", vec![]), Code::AlreadyExists, "already registered"),
        (event("there", &["a"], &["b"], ""), Code::AlreadyExists, "already registered"),
        (request("r", event("e", &["a"], &["b"], "")), Code::Ok, ""),
        (request("r", event("e", &["a"], &["c"], "")), Code::FailedPrecondition, "used for another change"),
        (retire("88.1/e"), Code::Ok, ""),
        (event("e", &["a"], &["b"], ""), Code::FailedPrecondition, "was retired"),
    ];
    for (command, code, words) in table {
        match running.apply(command.clone()).await {
            Ok(_) => assert_eq!(code, Code::Ok, "{command:?}"),
            Err(status) => {
                assert_eq!(status.code(), code, "{status:?}");
                assert!(status.message().contains(words), "{words}: {status:?}");
            }
        }
    }
    let outcomes = running.apply_batch(vec![melt(), event("melt", &["coil"], &["sheet"], "")]).await.unwrap();
    let same = |outcome: &Outcome| outcome.refusal().existing.as_ref().unwrap().same_content;
    assert_eq!((same(&outcomes[0]), same(&outcomes[1])), (true, false));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_exported_and_imported() {
    let (first, second) = (directory(), directory());
    let running = Running::start(first.path()).await;
    running.apply(melt()).await.unwrap();
    let lines: Vec<String> = running.export("").await.iter().map(record_to_json).collect();
    running.stop().await;
    let running = Running::start(second.path()).await;
    let mut batch = CommandBatch::default();
    lines.iter().for_each(|line| create_from_line(line.as_bytes(), &mut batch).unwrap());
    let client = touchmark::client::Client::connect(&running.node.grpc_addr().to_string()).await.unwrap();
    for _ in 0..2 {
        client.apply_batch(&batch).await.unwrap();
    }
    let outcomes = running.apply_batch(vec![melt()]).await.unwrap();
    assert!(outcomes[0].refusal().existing.as_ref().unwrap().same_content);
    let traced = trace(&running, down("88.1/heat")).await.unwrap();
    assert_eq!((traced.edges.len(), running.entries()), (4, 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_finds_products_and_who_has_them() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let to = |kind, to: &str| edge(kind, &format!("88.1/{to}"));
    use EdgeType::{PackedIn, TransferredTo};
    running.apply(event("mix", &["lot 2 kg", "water"], &["paint", "waste"], "")).await.unwrap();
    made_of(&running, "red car", &[part("paint", "1", "kg", None), to(TransferredTo, "dealer")]).await;
    made_of(&running, "blue car", &[part("paint", "2", "kg", None), to(PackedIn, "crate")]).await;
    made_of(&running, "green car", &[part("door", "1", "", None), to(PackedIn, "lost box")]).await;
    made_of(&running, "door", &[part("paint", "0.5", "kg", None)]).await;
    made_of(&running, "clean car", &[part("water", "1", "kg", None)]).await;
    made_of(&running, "crate", &[to(PackedIn, "ship"), to(TransferredTo, "packer")]).await;
    made_of(&running, "ship", &[to(TransferredTo, "first line")]).await;
    let sold = |to: &str| pb::Update {
        mode: pb::update::Mode::Merge.into(),
        add_edges: vec![edge(TransferredTo, &format!("88.1/{to}"))],
        ..Default::default()
    };
    let before = running.apply(update("88.1/ship", sold("a later line"))).await.unwrap().ledger_index;
    running.apply(update("88.1/red car", sold("buyer"))).await.unwrap();
    let recall = async |request: pb::RecallRequest| {
        let mut stream = AuditorClient::new(running.channel()).recall(request).await.unwrap().into_inner();
        let (mut products, mut summary) = (Vec::new(), None);
        while let Some(message) = stream.message().await.unwrap() {
            summary = message.summary.or(summary);
            products.extend(message.products.into_iter().map(|found| {
                let product = found.product.unwrap();
                let holder = found
                    .holder
                    .map_or("nobody".into(), |holder| format!("{} by {}", holder.party, holder.transferred));
                let amounts: Vec<_> =
                    found.amounts.iter().map(|amount| format!("{} {}", amount.quantity, amount.unit)).collect();
                let packages = found.packages.join(" in ");
                format!("{} {} [{packages}] {holder}", product.identifier, amounts.join("+")).replace("88.1/", "")
            }));
        }
        products.sort();
        (products, summary.unwrap())
    };
    let request = pb::RecallRequest { identifier: "88.1/lot".into(), ..Default::default() };
    let (products, summary) = recall(request.clone()).await;
    assert_eq!(
        products,
        [
            "blue car  [crate in ship] a later line by ship",
            "green car  [lost box] nobody",
            "red car  [] buyer by red car",
            "waste  [] nobody",
        ]
    );
    assert_eq!((summary.nodes, summary.truncated.len()), (8, 0));
    let then = pb::RecallRequest { at: Some(pb::recall_request::At::LedgerIndex(before - 1)), ..request.clone() };
    let (products, _) = recall(then).await;
    assert_eq!(
        (&*products[0], &*products[2]),
        ("blue car  [crate in ship] first line by ship", "red car  [] dealer by red car",)
    );
    let shallow = pb::TraceLimits { depth: Some(3), ..Default::default() };
    let (products, summary) = recall(pb::RecallRequest { limits: Some(shallow), ..request.clone() }).await;
    assert_eq!((products.len(), summary.truncated().collect::<Vec<_>>()), (3, vec![Truncation::Depth]), "not the door");
    // Once the event is withdrawn, only the lot itself is left.
    running.apply(retire("88.1/mix")).await.unwrap();
    let (products, summary) = recall(request).await;
    assert_eq!((products, summary.retired), (vec!["lot  [] nobody".to_owned()], 1));
    running.stop().await;
}

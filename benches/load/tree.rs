//! A tree of nodes on loopback: the cost of a walk beside one hop, of a warm answer beside an authoritative one, and
//! the number of upstream questions.

use std::{fs, path::Path, time::Instant};

use hdrhistogram::Histogram;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;
use tonic::transport::Channel;
use touchmark::protocol::grpc::pb::{
    self, endpoint::Protocol, registry_client::RegistryClient, resolver_client::ResolverClient,
};

use crate::{
    Outcome,
    cases::{BATCH, Way, connect, median, resolve_round},
    node::{Process, free_address},
};

/// Prefixes from the top down; the last one is homed.
const PREFIXES: [&str; 2] = ["88", "88.118"];

/// A node of the tree.
struct Node {
    process: Process,
    dns: String,
    http: String,
    _data: TempDir,
}

impl Node {
    async fn start(arguments: &[&str]) -> Outcome<Self> {
        let (data, dns, http) = (tempfile::tempdir()?, free_address()?, free_address()?);
        let process = Process::node_with(data.path(), [&dns, &http], arguments).await?;
        Ok(Self { process, dns, http, _data: data })
    }

    async fn resolver(&self) -> Outcome<ResolverClient<Channel>> {
        Ok(ResolverClient::new(connect(&self.process.address).await?).max_decoding_message_size(16 << 20))
    }

    /// Site of the node, with the key of its ledger.
    async fn site(&self) -> Outcome<pb::Site> {
        let page = self.resolver().await?.list_prefixes(pb::ListPrefixesRequest::default()).await?.into_inner();
        let endpoint = |protocol: Protocol, address: &str| {
            let (address, port) = address.rsplit_once(':').ok_or("an address without a port")?;
            Ok(pb::Endpoint { protocol: protocol.into(), address: address.into(), port: port.parse()? })
        };
        let endpoints: Outcome<Vec<_>> =
            [endpoint(Protocol::Grpc, &self.process.address), endpoint(Protocol::Dns, &self.dns)].into_iter().collect();
        Ok(pb::Site { serial: 1, role: pb::site::Role::Primary.into(), key: page.key, endpoints: endpoints? })
    }

    async fn say(&self, prefix: &str, operation: pb::prefix_command::Operation) -> Outcome<()> {
        let mut registry = RegistryClient::new(connect(&self.process.address).await?);
        let prefix = prefix.to_owned();
        let command = pb::PrefixCommand { prefix, operation: Some(operation), ..pb::PrefixCommand::default() };
        registry.apply_prefix(command).await?;
        Ok(())
    }

    async fn delegate(&self, prefix: &str, to: &Self) -> Outcome<()> {
        let delegation = pb::Delegation { ttl: 3_600, sites: vec![to.site().await?], signers: Vec::new() };
        self.say(prefix, pb::prefix_command::Operation::Delegate(delegation)).await
    }

    /// A counter of `/metrics`.
    fn metric(&self, name: &str) -> Outcome<u64> {
        let text = ureq::get(format!("http://{}/metrics", self.http)).call()?.body_mut().read_to_string()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.ok_or("there is no such metric")?.parse::<f64>()? as u64)
    }
}

/// A national node, a second-level node, and an enterprise.
struct Tree {
    levels: [Node; 3],
    roots: String,
    directory: TempDir,
}

impl Tree {
    async fn start(records: u64) -> Outcome<Self> {
        let levels = [Node::start(&[]).await?, Node::start(&[]).await?, Node::start(&[]).await?];
        levels[2].say(PREFIXES[1], pb::prefix_command::Operation::Home(pb::Home {})).await?;
        levels[0].delegate(PREFIXES[0], &levels[1]).await?;
        levels[1].delegate(PREFIXES[1], &levels[2]).await?;
        let mut registry = RegistryClient::new(connect(&levels[2].process.address).await?);
        for start in (0..records).step_by(BATCH as usize) {
            let commands = (start..records.min(start + BATCH)).map(crate::records::create).collect();
            registry.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await?;
        }
        let directory = tempfile::tempdir()?;
        let (top, key) = (&levels[0], levels[0].site().await?.key);
        let site = format!("1 primary {key} grpc://{} dns://{}", top.process.address, top.dns);
        let roots = directory.path().join("roots.json");
        fs::write(&roots, format!("{{\"version\":\"1.0\",\"sites\":{{\".\":{{\"sites\":[\"{site}\"]}}}}}}"))?;
        Ok(Self { levels, roots: path(&roots), directory })
    }

    async fn recursive(&self, arguments: &[&str]) -> Outcome<Node> {
        Node::start(&[&["--recursive", "--roots", &self.roots], arguments].concat()).await
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn question(number: u64, recursion: pb::Recursion) -> pb::ResolveRequest {
    let identifier = crate::records::identifier(number);
    pb::ResolveRequest { identifier, recursion: recursion.into(), ..pb::ResolveRequest::default() }
}

/// Runs all cases of the tree.
pub async fn run(records: u64, questions: u64, rounds: usize) -> Outcome<()> {
    println!(
        "# a national node, a second-level one, an enterprise with {records} records, and recursive nodes, on loopback"
    );
    let tree = Tree::start(records).await?;
    walks(&tree, questions.min(5_000), rounds).await?;
    warm(&tree, records, questions, rounds).await?;
    upstream(&tree, records, questions).await
}

/// Latency of walks beside that of single hops: over gRPC, over gRPC with proofs, over DNS.
async fn walks(tree: &Tree, questions: u64, rounds: usize) -> Outcome<()> {
    let dns_first = path(&tree.directory.path().join("dns-first.toml"));
    fs::write(&dns_first, "[recursion]\nfirst = \"dns\"\n")?;
    let cases = [("gRPC", &[][..]), ("gRPC, verified", &["--verify=included"]), ("DNS", &["--config", &dns_first])];
    let mut nodes = Vec::with_capacity(cases.len());
    for (name, arguments) in cases {
        nodes.push((name, tree.recursive(arguments).await?, Vec::new()));
    }
    for _ in 0..rounds {
        for (name, node, ratios) in &mut nodes {
            let hop = latency(&tree.levels[2], questions, pb::Recursion::None).await?;
            let walk = latency(node, questions, pb::Recursion::Fresh).await?;
            let at = |latency: &Histogram<u64>, quantile| latency.value_at_quantile(quantile) as f64 / 1e6;
            let ratio = at(&walk, 0.5) / at(&hop, 0.5);
            println!(
                "walk over {name:<15} p50 {:.3} ms p99 {:.3} ms, one hop p50 {:.3} ms p99 {:.3} ms, ratio of p50 {ratio:.2}",
                at(&walk, 0.5),
                at(&walk, 0.99),
                at(&hop, 0.5),
                at(&hop, 0.99)
            );
            ratios.push(ratio);
        }
    }
    for (name, node, ratios) in nodes {
        println!("cold walk over three levels, {name}: median {:.2} hops", median(ratios));
        node.process.stop()?;
    }
    println!();
    Ok(())
}

/// Latency of sequential questions, in nanoseconds.
async fn latency(node: &Node, questions: u64, recursion: pb::Recursion) -> Outcome<Histogram<u64>> {
    let (mut client, mut latency) = (node.resolver().await?, Histogram::<u64>::new(3)?);
    for number in 0..questions {
        let began = Instant::now();
        let answer = client.resolve(question(number, recursion)).await?.into_inner();
        latency.record(began.elapsed().as_nanos() as u64)?;
        if !matches!(answer.outcome, Some(pb::answer::Outcome::Found(_))) {
            return Err(format!("question {number}: {:?}", answer.outcome).into());
        }
    }
    Ok(latency)
}

/// Warm answers of a recursive node, beside those of the authoritative one.
async fn warm(tree: &Tree, records: u64, questions: u64, rounds: usize) -> Outcome<()> {
    let recursive = tree.recursive(&[]).await?;
    let records = records.min(10_000);
    for (name, way) in [("resolve", Way::Unary), ("resolve batch", Way::Batch), ("resolve stream", Way::Stream)] {
        let (mut ours, mut authoritative) = (Vec::new(), Vec::new());
        for _ in 0..=rounds {
            let round = resolve_round(&recursive.process, way, records, questions).await?;
            round.print(&format!("{name}, recursive"));
            ours.push(round.cpu_us_per_operation());
            let round = resolve_round(&tree.levels[2].process, way, records, questions).await?;
            round.print("  authoritative");
            authoritative.push(round.cpu_us_per_operation());
        }
        // The first round warms the caches.
        let (ours, authoritative) = (median(ours.split_off(1)), median(authoritative.split_off(1)));
        println!(
            "{name:<16} warm: recursive {ours:.2} us of node CPU, authoritative {authoritative:.2}, ratio {:.2}\n",
            ours / authoritative
        );
    }
    recursive.process.stop()?;
    Ok(())
}

/// Upstream questions under a Zipf load (exponent 1): with a cache for a tenth of the answers, and without cached
/// answers.
async fn upstream(tree: &Tree, records: u64, questions: u64) -> Outcome<()> {
    let weights: Vec<f64> = (1..=records)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let total = weights.last().copied().unwrap_or(1.0);
    // Bytes per answer, measured on a node whose cache holds all of a thousand answers.
    let probe = tree.recursive(&[]).await?;
    latency(&probe, 1_000, pb::Recursion::Unspecified).await?;
    let bytes_each = probe.metric("touchmark_recursion_bytes")? / probe.metric("touchmark_recursion_entries")?.max(1);
    probe.process.stop()?;
    // A quarter of the memory is reserved for delegations.
    let bytes = (bytes_each * records / 10 * 4 / 3).max(1 << 20);
    let config = tree.directory.path().join("small.toml");
    fs::write(&config, format!("[cache]\nrecursion_bytes_max = {bytes}\n"))?;
    for (name, recursion) in [
        ("a tenth is kept", pb::Recursion::Unspecified),
        ("neither answers nor delegations are kept", pb::Recursion::Fresh),
    ] {
        let node = tree.recursive(&["--config", &path(&config)]).await?;
        let (mut client, mut random) = (node.resolver().await?, StdRng::seed_from_u64(7));
        let began = Instant::now();
        let mut asked = 0;
        while asked < questions {
            let batch = BATCH.min(questions - asked);
            let mut requests = Vec::with_capacity(batch as usize);
            for _ in 0..batch {
                let place = random.random::<f64>() * total;
                requests.push(question(weights.partition_point(|weight| *weight < place) as u64, recursion));
            }
            client.resolve_batch(pb::ResolveBatchRequest { requests }).await?;
            asked += batch;
        }
        let upstream = node.metric("touchmark_recursion_upstream_total")?;
        let entries = node.metric("touchmark_recursion_entries")?;
        println!(
            "Zipf, {name}: {questions} questions of {records} identifiers, {upstream} upstream, {:.3} a question; {entries} kept; {:.0}/s",
            upstream as f64 / questions as f64,
            questions as f64 / began.elapsed().as_secs_f64()
        );
        node.process.stop()?;
    }
    Ok(())
}

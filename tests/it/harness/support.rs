//! A node in this process on a temporary directory, its clients, and short forms of commands.

use std::{net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;
use tonic::{Status, transport::Channel};
use touchmark::{
    app::{AppError, Node},
    config::Config,
    protocol::grpc::pb::{self, command::Operation, registry_client::RegistryClient, resolver_client::ResolverClient},
};

/// Longest reply that a test accepts, in bytes.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// Time for which a directory may stay in use after its node was dropped.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(20);

/// Configuration for a data directory, with ports that the system chooses.
pub fn config(data: &Path) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { data: data.into(), ..Config::default() };
    config.dns.listen = vec![any];
    config.grpc.listen = any;
    config.http.listen = Some(any);
    config
}

/// A temporary directory with room for one data directory.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("touchmark-it-").tempdir().unwrap()
}

/// A running node and a connection to it.
pub struct Running {
    pub node: Node,
    channel: Channel,
}

impl Running {
    /// Starts a node with the defaults of [`config`].
    pub async fn start(data: &Path) -> Self {
        Self::with(&config(data)).await.unwrap()
    }

    /// Starts a node.
    pub async fn with(config: &Config) -> Result<Self, AppError> {
        let node = Node::start(config).await?;
        let endpoint = format!("http://{}", node.grpc_addr()).parse::<tonic::transport::Endpoint>().unwrap();
        let channel = endpoint.connect().await.unwrap();
        Ok(Self { node, channel })
    }

    /// Opens another connection.
    pub async fn another_channel(&self) -> Channel {
        let address = format!("http://{}", self.node.grpc_addr());
        address.parse::<tonic::transport::Endpoint>().unwrap().connect().await.unwrap()
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn resolver(&self) -> ResolverClient<Channel> {
        ResolverClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    pub fn registry(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    pub async fn apply(&self, command: pb::Command) -> Result<pb::Receipt, Status> {
        self.registry().apply(command).await.map(tonic::Response::into_inner)
    }

    pub async fn apply_batch(&self, commands: Vec<pb::Command>) -> Result<Vec<Outcome>, Status> {
        let answer = self.registry().apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await?.into_inner();
        Ok(answer.results.into_iter().map(outcome).collect())
    }

    pub async fn apply_stream(&self, commands: Vec<pb::Command>) -> Result<Vec<Outcome>, Status> {
        let mut results = self.registry().apply_stream(tokio_stream::iter(commands)).await?.into_inner();
        let mut outcomes = Vec::new();
        while let Some(result) = results.message().await? {
            outcomes.push(outcome(result));
        }
        Ok(outcomes)
    }

    /// Sends commands as a batch (0), as a stream (1), or one by one.
    pub async fn send(&self, commands: Vec<pb::Command>, way: u32) -> Vec<Outcome> {
        match way {
            0 => return self.apply_batch(commands).await.unwrap(),
            1 => return self.apply_stream(commands).await.unwrap(),
            _ => {}
        }
        let mut outcomes = Vec::new();
        for command in commands {
            outcomes.push(match self.apply(command).await {
                Ok(receipt) => Outcome::Receipt(receipt),
                Err(status) => Outcome::Refusal(pb::Refusal {
                    code: status.code().into(),
                    message: status.message().into(),
                    ..pb::Refusal::default()
                }),
            });
        }
        outcomes
    }

    pub async fn resolve(&self, identifier: &str) -> pb::answer::Outcome {
        let answer = self.resolver().resolve(question(identifier)).await.unwrap();
        answer.into_inner().outcome.unwrap()
    }

    /// Resolves an identifier that must be found.
    pub async fn found(&self, identifier: &str) -> pb::Record {
        match self.resolve(identifier).await {
            pb::answer::Outcome::Found(record) => record,
            other => panic!("{identifier}: {other:?}"),
        }
    }

    pub async fn resolve_batch(&self, identifiers: &[String]) -> Vec<pb::answer::Outcome> {
        let requests = identifiers.iter().map(|identifier| question(identifier)).collect();
        let answer = self.resolver().resolve_batch(pb::ResolveBatchRequest { requests }).await.unwrap();
        answer.into_inner().answers.into_iter().map(|answer| answer.outcome.unwrap()).collect()
    }

    pub async fn resolve_stream(&self, identifiers: &[String]) -> Vec<pb::answer::Outcome> {
        let requests: Vec<_> = identifiers.iter().map(|identifier| question(identifier)).collect();
        let mut answers = self.resolver().resolve_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
        let mut outcomes = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            outcomes.push(answer.outcome.unwrap());
        }
        outcomes
    }

    pub async fn export(&self, scheme: &str) -> Vec<pb::Record> {
        let request = pb::ExportRequest { scheme: scheme.into() };
        let mut stream = self.registry().export(request).await.unwrap().into_inner();
        let mut records = Vec::new();
        while let Some(record) = stream.message().await.unwrap() {
            records.push(record);
        }
        records
    }

    /// Number of entries in the ledger.
    pub fn entries(&self) -> u64 {
        self.node.summary().entries
    }

    /// Stops cleanly.
    pub async fn stop(self) {
        let Self { node, channel } = self;
        drop(channel);
        node.stop().await.unwrap();
    }

    /// Drops the node without stopping it, waits until its directory is free, and starts a node there.
    pub async fn abandon(self, config: &Config) -> Self {
        drop(self);
        let began = std::time::Instant::now();
        loop {
            match Self::with(config).await {
                Ok(running) => return running,
                Err(error) if began.elapsed() > RELEASE_TIMEOUT => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Result of one command of several.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Receipt(pb::Receipt),
    Refusal(pb::Refusal),
}

impl Outcome {
    pub fn receipt(&self) -> &pb::Receipt {
        match self {
            Self::Receipt(receipt) => receipt,
            Self::Refusal(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    pub fn refusal(&self) -> &pb::Refusal {
        match self {
            Self::Refusal(refusal) => refusal,
            Self::Receipt(receipt) => panic!("carried out: {receipt:?}"),
        }
    }
}

/// Result of one command.
pub fn outcome(result: pb::ApplyResult) -> Outcome {
    match result.result.unwrap() {
        pb::apply_result::Result::Receipt(receipt) => Outcome::Receipt(receipt),
        pb::apply_result::Result::Refusal(refusal) => Outcome::Refusal(refusal),
    }
}

pub fn question(identifier: &str) -> pb::ResolveRequest {
    pb::ResolveRequest { identifier: identifier.into(), ..Default::default() }
}

pub fn value(index: u32, kind: &str, data: impl Into<Vec<u8>>) -> pb::Value {
    pb::Value { index, r#type: kind.into(), data: data.into().into(), ..Default::default() }
}

pub fn edge(kind: pb::EdgeType, to: &str) -> pb::Edge {
    pb::Edge { r#type: kind.into(), to: to.into(), ..Default::default() }
}

fn command(identifier: &str, operation: Operation) -> pb::Command {
    pb::Command { identifier: identifier.into(), operation: Some(operation), ..Default::default() }
}

pub fn create(identifier: &str, values: Vec<pb::Value>) -> pb::Command {
    command(identifier, Operation::Create(pb::Create { values, edges: Vec::new() }))
}

pub fn create_with_edges(identifier: &str, values: Vec<pb::Value>, edges: Vec<pb::Edge>) -> pb::Command {
    command(identifier, Operation::Create(pb::Create { values, edges }))
}

pub fn replace(identifier: &str, values: Vec<pb::Value>) -> pb::Command {
    update(identifier, pb::Update { mode: pb::update::Mode::Replace.into(), values, ..Default::default() })
}

pub fn merge(identifier: &str, values: Vec<pb::Value>, remove_indexes: Vec<u32>) -> pb::Command {
    let mode = pb::update::Mode::Merge.into();
    update(identifier, pb::Update { mode, values, remove_indexes, ..Default::default() })
}

pub fn update(identifier: &str, update: pb::Update) -> pb::Command {
    command(identifier, Operation::Update(update))
}

pub fn retire(identifier: &str) -> pb::Command {
    command(identifier, Operation::Retire(pb::Retire {}))
}

pub fn erase(identifier: &str, reason: &str) -> pb::Command {
    command(identifier, Operation::Erase(pb::Erase { index: None, reason: reason.into() }))
}

pub fn erase_value(identifier: &str, index: u32, reason: &str) -> pb::Command {
    command(identifier, Operation::Erase(pb::Erase { index: Some(index), reason: reason.into() }))
}

/// Adds a request id to a command.
pub fn request(id: impl Into<Vec<u8>>, command: pb::Command) -> pb::Command {
    pb::Command { request_id: id.into().into(), ..command }
}

/// Adds an expected version to a command.
pub fn expecting(version: u64, command: pb::Command) -> pb::Command {
    pb::Command { expected_version: Some(version), ..command }
}

/// Content of a record in one line, without times and versions: `1 NAME=a · made-of 88.1/x`.
pub fn content(record: &pb::Record) -> String {
    let values = record
        .values
        .iter()
        .map(|value| format!("{} {}={}", value.index, value.r#type, String::from_utf8_lossy(&value.data)));
    let edges = record.edges.iter().map(|edge| {
        let kind = edge.r#type().as_str_name().trim_start_matches("EDGE_TYPE_").to_lowercase().replace('_', "-");
        let quantity =
            if edge.quantity.is_empty() { String::new() } else { format!(" x{}{}", edge.quantity, edge.unit) };
        format!("{kind} {}{quantity}", edge.to)
    });
    values.chain(edges).collect::<Vec<_>>().join(" · ")
}

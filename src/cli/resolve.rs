//! `touchmark resolve`: looks up the records of identifiers.

use std::net::SocketAddr;

use clap::ValueEnum;

use super::{
    Server,
    failure::Failure,
    output::{self, Out, clean},
};
use crate::{
    client::{
        Client,
        dns::{self, Said},
    },
    config::{self, Config},
    id::Identifier,
    protocol::{
        grpc::{
            RESOLVE_BATCH_MAX, delegation_to_pb,
            pb::{self, answer::Outcome as Answer, resolve_at_request::At},
        },
        json::{self, Point, endpoint_text, resolved_to_json, time_text, verification_text},
        outcome::Outcome,
    },
    record::ValueType,
};

/// Looks identifiers up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark resolve 88.1000.LSN/GB120-3169
  touchmark resolve '(01)09521141101209(21)TW120-0401' --type NAME --type URL
  touchmark resolve urn:oid:2.999.7.1.1.2 did:example:tavrenholt --json
  touchmark resolve 88.1000.LSN/GB120-3169 --as-of 2026-03-14T12:10:00Z
  touchmark resolve 88.1000.LSN/GB120-3169 --over dns --dns 127.0.0.1:5300
  touchmark resolve 88.1000.LSN/GB120-3169 --trace --server 127.0.0.1:50061

What has no record to show is named with the reason: not found, retired, delegated, denied or invalid. The exit code is
that of the first one (see `touchmark --help`).")]
pub struct Args {
    /// Identifiers, in any written form
    #[arg(required = true, value_name = "ID")]
    identifiers: Vec<String>,
    /// Show values of this type only; one that ends in a dot takes everything below it
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Show the value with this index only
    #[arg(long = "index", value_name = "N")]
    indexes: Vec<u32>,
    /// The state as of a ledger index, or at a time (RFC 3339)
    #[arg(long, value_name = "INDEX|TIME", value_parser = point)]
    as_of: Option<At>,
    /// The protocol to ask over
    #[arg(long, default_value = "grpc")]
    over: Protocol,
    #[command(flatten)]
    server: Server,
    /// The DNS server to ask, with --over dns
    #[arg(long, value_name = "ADDR", default_value_t = Config::DNS_DEFAULT)]
    dns: SocketAddr,
    /// The zone of the DNS server, with --over dns
    #[arg(long, default_value_t = Config::default().zone, value_parser = config::zone)]
    zone: String,
    /// Show the walk from node to node: each node asked, the time it took, its answer, and the verification
    #[arg(long)]
    trace: bool,
    /// Print one JSON object for each identifier
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Grpc,
    Dns,
}

/// An answer, with a remark and the walk that led to it.
struct Reply {
    answer: Answer,
    remark: Option<String>,
    /// The walk of a recursive node.
    resolution: Option<pb::Resolution>,
}

impl Reply {
    fn of(answer: Answer) -> Self {
        Self { answer, remark: None, resolution: None }
    }
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if no server answers; not found and the like are no failures, and show in the exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    super::block_on(async {
        match (args.over, args.as_of) {
            (Protocol::Grpc, None) => over_grpc(args).await,
            (Protocol::Grpc, Some(at)) => as_of(args, at).await,
            (Protocol::Dns, None) if args.trace => Err(Failure::usage("--trace is answered over gRPC only")),
            (Protocol::Dns, None) => over_dns(args).await,
            (Protocol::Dns, Some(_)) => Err(Failure::usage("--as-of is answered over gRPC only")),
        }
    })
}

fn point(text: &str) -> Result<At, String> {
    Ok(match json::point(text)? {
        Point::Index(index) => At::LedgerIndex(index),
        Point::Time(time_ms) => At::Time(time_ms),
    })
}

async fn as_of(args: &Args, at: At) -> Result<u8, Failure> {
    let client = Client::connect(&args.server.server).await?;
    let mut printer = Printer::new(args);
    for identifier in &args.identifiers {
        let request = pb::ResolveAtRequest { request: Some(request(identifier, args)), at: Some(at) };
        let answer = client.resolve_at(request).await?.outcome;
        printer.print(Reply::of(answer.ok_or_else(|| no_answer(identifier, args))?))?;
    }
    printer.finish()
}

fn request(identifier: &str, args: &Args) -> pb::ResolveRequest {
    let types = args.types.clone();
    let indexes = args.indexes.clone();
    let identifier = identifier.into();
    let trace = args.trace;
    pb::ResolveRequest { identifier, types, indexes, trace, ..pb::ResolveRequest::default() }
}

fn no_answer(identifier: &str, args: &Args) -> Failure {
    Failure::new(format!("the node at {} gave no answer for `{identifier}`", args.server.server))
}

async fn over_grpc(args: &Args) -> Result<u8, Failure> {
    let client = Client::connect(&args.server.server).await?;
    let mut printer = Printer::new(args);
    for identifiers in args.identifiers.chunks(RESOLVE_BATCH_MAX) {
        let requests = identifiers.iter().map(|identifier| request(identifier, args));
        let answers = client.resolve_batch(requests.collect()).await?;
        for (identifier, answer) in identifiers.iter().zip(answers) {
            let resolution = answer.resolution;
            let answer = answer.outcome.ok_or_else(|| no_answer(identifier, args))?;
            printer.print(Reply { resolution, ..Reply::of(answer) })?;
        }
    }
    printer.finish()
}

async fn over_dns(args: &Args) -> Result<u8, Failure> {
    let mut printer = Printer::new(args);
    for asked in &args.identifiers {
        let reply = match Identifier::parse(asked) {
            Ok(identifier) => said(dns::resolve(&identifier, &args.zone, args.dns).await?, &identifier, args),
            Err(error) => {
                let invalid = pb::Invalid { identifier: asked.clone(), reason: error.to_string() };
                Reply::of(Answer::Invalid(invalid))
            }
        };
        printer.print(reply)?;
    }
    printer.finish()
}

/// The answer that the node would give over gRPC, from its reply over DNS, which carries less.
fn said(said: Said, identifier: &Identifier, args: &Args) -> Reply {
    let identifier = identifier.to_string();
    let not_found = |identifier| Answer::NotFound(pb::NotFound { identifier });
    match said {
        Said::Found(mut record) => {
            record.values.retain(|value| is_asked_for(value, args));
            Reply::of(Answer::Found(*record))
        }
        Said::NoSuchName => Reply::of(not_found(identifier)),
        Said::Retired => Reply::of(Answer::Retired(pb::Retired { identifier, ..pb::Retired::default() })),
        Said::Erased => Reply::of(Answer::Retired(pb::Retired { identifier, erased: true, ..pb::Retired::default() })),
        Said::NoData => Reply { remark: Some(NO_DATA.into()), ..Reply::of(not_found(identifier)) },
        Said::Refused(text) => {
            let remark = text.filter(|text| text != Outcome::Denied.spelling().word);
            Reply { remark, ..Reply::of(Answer::Denied(pb::Denied { identifier })) }
        }
        Said::Delegated => Reply::of(Answer::Delegated(pb::Delegated { identifier, ..pb::Delegated::default() })),
        Said::Referral(referral) => Reply::of(Answer::Delegated(pb::Delegated {
            identifier,
            prefix: referral.prefix.to_string(),
            delegation: Some(delegation_to_pb(&referral.delegation)),
            ledger_index: referral.ledger_index.unwrap_or_default(),
        })),
        Said::NotResponsible => Reply::of(Answer::NotResponsible(pb::NotResponsible { identifier })),
    }
}

/// Remark on a name without a record.
const NO_DATA: &str = "only identifiers below it are registered, or it was retired or erased; gRPC tells which";

/// Filters values as a node does; over DNS a node always sends the whole record.
fn is_asked_for(value: &pb::Value, args: &Args) -> bool {
    let of_type = |kind: &ValueType| args.types.iter().any(|wanted| kind.matches(wanted));
    (args.types.is_empty() && args.indexes.is_empty())
        || args.indexes.contains(&value.index)
        || value.r#type.parse().is_ok_and(|kind| of_type(&kind))
}

/// Prints answers; its exit code is that of the first answer without a record.
struct Printer {
    out: Out,
    json: bool,
    filtered: bool,
    exit: u8,
}

impl Printer {
    fn new(args: &Args) -> Self {
        let filtered = !(args.types.is_empty() && args.indexes.is_empty());
        Self { out: Out::stdout(), json: args.json, filtered, exit: 0 }
    }

    fn print(&mut self, reply: Reply) -> Result<(), Failure> {
        let outcome = outcome(&reply.answer);
        if self.exit == 0 {
            self.exit = outcome.spelling().exit;
        }
        if self.json {
            return self.out.line(resolved_to_json(&reply.answer, reply.resolution.as_ref()));
        }
        if let Some(resolution) = &reply.resolution {
            walk(&mut self.out, resolution)?;
        }
        match &reply.answer {
            Answer::Found(record) => {
                output::record(&mut self.out, record)?;
                if self.filtered && record.values.is_empty() {
                    self.out.line("  no value of what was asked for")?;
                }
            }
            answer => {
                // Flushed first, so that both outputs keep the order of the questions on one terminal.
                self.out.flush()?;
                let remark = reply.remark.map(|remark| format!("; {}", clean(&remark))).unwrap_or_default();
                eprintln!("{}{remark}", sentence(answer));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u8, Failure> {
        self.out.flush()?;
        Ok(self.exit)
    }
}

/// Prints the walk of a recursive node.
fn walk(out: &mut Out, resolution: &pb::Resolution) -> Result<(), Failure> {
    for (number, hop) in resolution.hops.iter().enumerate() {
        let time = if hop.cached { "kept".into() } else { format!("{:.1} ms", hop.duration_us as f64 / 1e3) };
        let prefix = clean(&hop.prefix);
        let endpoint = clean(&hop.endpoint);
        let said = clean(&hop.said);
        let verified = verification_text(hop.verification());
        out.line(format_args!(
            "hop {}  {prefix}  {endpoint}  {time}  {said}, ttl {} s, verified: {verified}",
            number + 1,
            hop.ttl
        ))?;
    }
    if resolution.endpoint.is_empty() {
        return Ok(());
    }
    let kept = if resolution.cached { ", kept" } else { "" };
    let stale = if resolution.stale { ", stale: nobody who answers for it can be reached" } else { "" };
    let lag = resolution.lag_seconds.map(|seconds| format!(", a mirror {seconds} s behind")).unwrap_or_default();
    out.line(format_args!(
        "from {} for {}{lag}{kept}{stale}, ttl {} s, verified: {}",
        clean(&resolution.endpoint),
        clean(&resolution.prefix),
        resolution.ttl,
        verification_text(resolution.verification())
    ))
}

fn outcome(answer: &Answer) -> Outcome {
    match answer {
        Answer::Found(_) => Outcome::Success,
        Answer::Retired(retired) if retired.erased => Outcome::Erased,
        Answer::Retired(_) => Outcome::Retired,
        Answer::NotFound(_) => Outcome::NotFound,
        Answer::Delegated(_) => Outcome::Delegated,
        Answer::NotResponsible(_) => Outcome::NotResponsible,
        Answer::Failed(failed) => Outcome::of_grpc_code(failed.code).unwrap_or(Outcome::Unavailable),
        Answer::Denied(_) => Outcome::Denied,
        Answer::Invalid(_) => Outcome::Invalid,
    }
}

/// The sentence for an answer without a record.
fn sentence(answer: &Answer) -> String {
    let word = outcome(answer).spelling().word;
    match answer {
        Answer::Found(record) => clean(&record.identifier).into_owned(),
        Answer::Retired(retired) if retired.version > 0 => format!(
            "{}: {word}, version {}, ledger index {}, {}",
            clean(&retired.identifier),
            retired.version,
            retired.ledger_index,
            time_text(retired.time)
        ),
        Answer::Retired(retired) => format!("{}: {word}", clean(&retired.identifier)),
        Answer::NotFound(not_found) => format!("{}: {word}", clean(&not_found.identifier)),
        Answer::Delegated(delegated) if !delegated.prefix.is_empty() => {
            let identifier = clean(&delegated.identifier);
            let prefix = clean(&delegated.prefix);
            let sites = delegated.delegation.iter().flat_map(|delegation| &delegation.sites);
            let endpoints: Vec<_> = sites.flat_map(|site| site.endpoints.iter().map(endpoint_text)).collect();
            format!("{identifier}: {word}, {prefix} is answered for at {}", clean(&endpoints.join(" ")))
        }
        Answer::Delegated(delegated) => format!("{}: {word}, another node answers", clean(&delegated.identifier)),
        Answer::NotResponsible(elsewhere) => {
            format!("{}: {word}, the node does not know who is", clean(&elsewhere.identifier))
        }
        Answer::Failed(failed) => format!("{}: {word}, {}", clean(&failed.identifier), clean(&failed.reason)),
        Answer::Denied(denied) => {
            format!("{}: {word}, nothing of what was asked is public", clean(&denied.identifier))
        }
        Answer::Invalid(invalid) => format!("{word}: {}", clean(&invalid.reason)),
    }
}

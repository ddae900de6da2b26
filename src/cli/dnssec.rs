//! `touchmark dnssec`: the keys that sign the DNS zone, and the roll from one to the next.

use clap::Subcommand;
use serde::Serialize;

use super::{
    Data,
    failure::Failure,
    output::{self, Out},
};
use crate::{
    app::AppError,
    id::{Prefix, dns_name::name_of_prefix},
    protocol::{
        dns::dnssec::{
            DNSKEY_TTL_SECONDS,
            key_ring::{Haste, KeyRing, KeyState, ZoneKey},
            keys::{Algorithm, Key},
        },
        json::time_text,
        outcome::Outcome,
    },
    server::dns::keys::{self, KeysError},
};

/// Shows and rolls the keys that sign the DNS zone, whether the node runs or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark dnssec status
  touchmark dnssec ds --prefix 88.118
  touchmark dnssec roll
  touchmark dnssec roll --finish

`touchmark serve --dnssec` makes the first key. To change it: `roll`, wait until `status` says that the new key is active,
replace the DS at the parent, wait until the old DS has left all caches, `roll --finish`.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the keys, their states, and the records that the parent zone and validators need
    Status(StatusArgs),
    /// Show the DS of the zone, or of a prefix that is homed here, for the zone that delegates it
    Ds(DsArgs),
    /// Add a key that will replace the current one, or drop the old one
    Roll(RollArgs),
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    #[command(flatten)]
    data: Data,
    /// Print the keys as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct DsArgs {
    #[command(flatten)]
    data: Data,
    /// The prefix, whose name is the apex of a zone of its own [default: the whole zone]
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
}

#[derive(Debug, clap::Args)]
struct RollArgs {
    #[command(flatten)]
    data: Data,
    /// The algorithm of the new key: ecdsap256sha256 or ed25519 [default: that of the old one]
    #[arg(long, value_name = "NAME", conflicts_with = "finish")]
    algorithm: Option<Algorithm>,
    /// Drop the old key; its DS must be gone from the parent zone and from caches
    #[arg(long)]
    finish: bool,
    /// Do not wait until the signatures of the old key have expired: answers in caches may fail to validate
    #[arg(long, requires = "finish")]
    force: bool,
    /// Print the keys as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonKeys<'a> {
    zone: &'a str,
    keys: Vec<JsonKey>,
    finish_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<JsonKey>,
}

#[derive(Serialize)]
struct JsonKey {
    tag: u16,
    algorithm: u8,
    algorithm_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    published: String,
    active: String,
    ds: String,
    dnskey: String,
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Roll(error) => Self::of(Outcome::FailedPrecondition, error.to_string()),
            error => AppError::from(error).into(),
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if there are no keys, if they cannot be read or written, or if it is too early to roll.
pub fn run(args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::Status(args) => status(args)?,
        Command::Ds(args) => show_ds(args)?,
        Command::Roll(args) if args.finish => finish(args)?,
        Command::Roll(args) => roll(args)?,
    }
    Ok(0)
}

fn status(args: &StatusArgs) -> Result<(), Failure> {
    let data = args.data.config()?.data;
    let ring = keys::keys(&data)?;
    let now = keys::now_unix();
    if args.json {
        return print_json(&ring, None, now);
    }
    let mut out = Out::stdout();
    print_keys(&mut out, &ring, now)?;
    print_use(&mut out, &ring, now)?;
    out.flush()
}

/// Prints the DS that `touchmark prefix delegate --ds` takes on the node of the zone above.
fn show_ds(args: &DsArgs) -> Result<(), Failure> {
    let ring = keys::keys(&args.data.config()?.data)?;
    let now = keys::now_unix();
    let apex = match &args.prefix {
        None => ring.apex().to_vec(),
        Some(prefix) => prefix_apex(prefix, &ring)?,
    };
    output::line(ring.active(now).key.ds_text(&apex))
}

/// The name of a prefix below the zone, in wire form.
fn prefix_apex(prefix: &str, ring: &KeyRing) -> Result<Vec<u8>, Failure> {
    let invalid = |reason: String| Failure::of(Outcome::Invalid, reason);
    let prefix = Prefix::parse(prefix).map_err(|error| invalid(error.to_string()))?;
    let name = name_of_prefix(&prefix, ring.apex().len());
    let name =
        name.ok_or_else(|| invalid(format!("{prefix} has no name below {}: the whole zone has a DS", ring.zone())))?;
    // Labels have at most 63 octets.
    let labels = name.labels().flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    Ok(labels.chain(ring.apex().iter().copied()).collect())
}

fn roll(args: &RollArgs) -> Result<(), Failure> {
    let ring = keys::roll(&args.data.config()?.data, args.algorithm)?;
    let now = keys::now_unix();
    if args.json {
        return print_json(&ring, None, now);
    }
    let mut out = Out::stdout();
    print_keys(&mut out, &ring, now)?;
    let new = ring.keys(now).last().map(|(key, _)| (ds(&ring, &key.key), time(key.active_at)));
    if let (Some((ds, active)), Some(finish)) = (new, ring.finish_from()) {
        out.line("\nWhat to do next:")?;
        out.line(format_args!("  1. from {active} on, put this into the parent zone in place of the old DS"))?;
        out.line(format_args!("     {ds}"))?;
        out.line("     (a parent that reads CDS does it by itself)")?;
        out.line("  2. wait until the old DS has left all caches: its TTL in the parent zone")?;
        out.line(format_args!("  3. not before {}: touchmark dnssec roll --finish", time(finish)))?;
    }
    out.flush()
}

fn finish(args: &RollArgs) -> Result<(), Failure> {
    let haste = if args.force { Haste::Now } else { Haste::Wait };
    let (ring, dropped) = keys::finish_roll(&args.data.config()?.data, haste)?;
    let now = keys::now_unix();
    if args.json {
        let dropped = JsonKey::new(&ring, &dropped, None);
        return print_json(&ring, Some(dropped), now);
    }
    let mut out = Out::stdout();
    out.line(format_args!("dropped key {}; this must not be in the parent zone any more:", dropped.key.tag()))?;
    out.line(format_args!("  {}", ds(&ring, &dropped.key)))?;
    print_keys(&mut out, &ring, now)?;
    out.flush()
}

fn print_keys(out: &mut Out, ring: &KeyRing, now_unix: u32) -> Result<(), Failure> {
    out.line(format_args!("zone {}", ring.zone()))?;
    for (key, state) in ring.keys(now_unix) {
        let tag = key.key.tag();
        let algorithm = key.key.algorithm();
        let remark = match state {
            KeyState::Published => format!("active from {}", time(key.active_at)),
            KeyState::Active => format!("since {}", time(key.active_at)),
            KeyState::Retired => {
                ring.finish_from().map_or_else(String::new, |from| format!("may go from {}", time(from)))
            }
        };
        out.line(format_args!("  key {tag:>5}  {algorithm:<15}  {:<9}  {remark}", state.as_str()))?;
    }
    Ok(())
}

/// Prints the records for the parent zone and for validators.
fn print_use(out: &mut Out, ring: &KeyRing, now_unix: u32) -> Result<(), Failure> {
    out.line("\nFor the parent zone:")?;
    out.line(format_args!("  {}", ds(ring, &ring.active(now_unix).key)))?;
    out.line(format_args!("\nAs trust anchor for delv, in a file for `delv -a FILE +root={}`:", ring.zone()))?;
    out.line("  trust-anchors {")?;
    for (key, _) in ring.keys(now_unix) {
        let number = key.key.algorithm().number();
        let public = key.key.public_text();
        out.line(format_args!("    \"{}\" static-key 257 3 {number} \"{public}\";", ring.zone()))?;
    }
    out.line("  };")?;
    out.line("\nAs trust anchor for unbound:")?;
    for (key, _) in ring.keys(now_unix) {
        out.line(format_args!("  trust-anchor: \"{}\"", dnskey(ring, &key.key)))?;
    }
    Ok(())
}

fn print_json(ring: &KeyRing, dropped: Option<JsonKey>, now_unix: u32) -> Result<(), Failure> {
    let keys = ring.keys(now_unix).map(|(key, state)| JsonKey::new(ring, key, Some(state))).collect();
    let keys = JsonKeys { zone: ring.zone(), keys, finish_from: ring.finish_from().map(time), dropped };
    output::line(serde_json::to_string(&keys).unwrap_or_default())
}

impl JsonKey {
    fn new(ring: &KeyRing, zone_key: &ZoneKey, state: Option<KeyState>) -> Self {
        let key = &zone_key.key;
        Self {
            tag: key.tag(),
            algorithm: key.algorithm().number(),
            algorithm_name: key.algorithm().mnemonic(),
            state: state.map(KeyState::as_str),
            published: time(zone_key.published_at),
            active: time(zone_key.active_at),
            ds: ds(ring, key),
            dnskey: dnskey(ring, key),
        }
    }
}

fn ds(ring: &KeyRing, key: &Key) -> String {
    format!("{} {DNSKEY_TTL_SECONDS} IN DS {}", ring.zone(), key.ds_text(ring.apex()))
}

fn dnskey(ring: &KeyRing, key: &Key) -> String {
    format!("{} {DNSKEY_TTL_SECONDS} IN DNSKEY {}", ring.zone(), key.dnskey_text())
}

fn time(unix: u32) -> String {
    time_text(u64::from(unix) * 1_000)
}

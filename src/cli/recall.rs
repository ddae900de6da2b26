//! `touchmark recall`: every finished product that a bad lot went into, and its holder.

use super::{
    Server,
    failure::Failure,
    output::{Out, clean, count},
    trace::{LimitOptions, amount, warn},
};
use crate::{
    client::Client,
    protocol::{
        grpc::pb::{self, recall_request::At, trace_node::State},
        json::{self, Point, recalled_to_json, signed_time_text, trace_state_text, trace_summary_to_json},
        outcome::Outcome,
    },
};

/// Finds the finished products that a lot went into.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark recall 88.1000.LSN/C1-120-5987
  touchmark recall 88.1000.LSN/C1-120-5987 --as-of 2026-03-14T12:10:00Z --json

A finished product is what nothing else contains or derives from. Who has it is the newest party that it was transferred to,
or, when it lies in a package, that the outermost package was transferred to.")]
pub struct Args {
    /// The lot, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    /// The state as of a ledger entry, or at a time
    #[arg(long, value_name = "INDEX|TIME", value_parser = json::point)]
    as_of: Option<Point>,
    #[command(flatten)]
    limits: LimitOptions,
    /// Print one JSON object for each product, and one for the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if no node answers or the node refuses; an unknown lot shows in the exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let request = pb::RecallRequest {
        identifier: args.identifier.clone(),
        at: args.as_of.map(|point| match point {
            Point::Index(index) => At::LedgerIndex(index),
            Point::Time(time_ms) => At::Time(time_ms),
        }),
        limits: Some(args.limits.message()),
    };
    let mut out = Out::stdout();
    let mut products = 0;
    let mut unknown = 0;
    let mut summary = pb::TraceSummary::default();
    super::block_on(async {
        let mut messages = Client::connect(&args.server.server).await?.recall(request).await?;
        while let Some(message) = messages.next().await? {
            for product in &message.products {
                products += 1;
                unknown += u64::from(product.holder.is_none());
                if args.json { out.line(recalled_to_json(product))? } else { show(&mut out, product)? }
            }
            if let Some(end) = message.summary {
                summary = end;
            }
        }
        Ok(())
    })?;
    if args.json {
        out.line(trace_summary_to_json(&summary, None))?;
    } else {
        let found = count(products);
        let nodes = count(summary.nodes.into());
        out.line(format_args!("{found} finished products of {nodes} nodes, holder unknown for {}", count(unknown)))?;
    }
    out.flush()?;
    warn(&summary);
    if summary.nodes == 1 && summary.missing == 1 {
        eprintln!("{}: {}", clean(&args.identifier), Outcome::NotFound.spelling().word);
        return Ok(Outcome::NotFound.spelling().exit);
    }
    Ok(0)
}

fn show(out: &mut Out, recalled: &pb::RecalledProduct) -> Result<(), Failure> {
    let product = recalled.product.clone().unwrap_or_default();
    let state = match product.state() {
        State::Active => String::new(),
        state => format!(" [{}]", trace_state_text(state)),
    };
    let name = if product.name.is_empty() { String::new() } else { format!(" \"{}\"", clean(&product.name)) };
    out.line(format_args!("{}{name}{state}", clean(&product.identifier)))?;
    let amounts: Vec<_> = recalled.amounts.iter().map(amount).collect();
    if !amounts.is_empty() {
        out.line(format_args!("  holds  {} of it", amounts.join(" + ")))?;
    }
    for package in &recalled.packages {
        out.line(format_args!("  in     {}", clean(package)))?;
    }
    let Some(holder) = &recalled.holder else { return out.line("  with   nobody known") };
    let from = holder.valid_from.map(|ms| format!(", from {}", signed_time_text(ms))).unwrap_or_default();
    let index = count(holder.ledger_index);
    out.line(format_args!("  with   {}, ledger index {index}{from}", clean(&holder.party)))
}

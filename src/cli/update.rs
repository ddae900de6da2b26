//! `touchmark update`: changes a record.

use super::{
    failure::Failure,
    parts::{self, ValueOptions, WriteOptions},
};
use crate::protocol::grpc::pb::{self, update::Mode};

/// Changes the record of an identifier.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark update 88.1000.LSN/C1-1 --value 2:MASS='0.41 kg' --remove 3
  touchmark update 88.1000.LSN/C1-1 --replace --value NAME=Carrier --expect-version 2
  touchmark update 88.1000.LSN/C1-1 --add-edge packed-in='(00)395211410008000413'

Values replace those with the same index or are added, and all others stay; with --replace the values given are
all that the record has from then on.")]
pub struct Args {
    /// The identifier, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    #[command(flatten)]
    values: ValueOptions,
    /// Keep no other values than those given here
    #[arg(long)]
    replace: bool,
    /// Remove the value with this index
    #[arg(long = "remove", value_name = "INDEX", conflicts_with = "replace")]
    removed: Vec<u32>,
    /// Add a relation, or replace the one of the same type to the same identifier
    #[arg(long = "add-edge", value_name = "TYPE=ID[,quantity=N][,unit=UNIT][,from=TIME]", value_parser = parts::edge)]
    added_edges: Vec<pb::Edge>,
    /// Remove a relation
    #[arg(long = "remove-edge", value_name = "TYPE=ID", value_parser = parts::removed_edge)]
    removed_edges: Vec<pb::Edge>,
    #[command(flatten)]
    options: WriteOptions,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`], with the exit code of the refusal.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let update = update(args)?;
    parts::apply(&args.identifier, pb::command::Operation::Update(update), &args.options, "updated")
}

fn update(args: &Args) -> Result<pb::Update, Failure> {
    let values = args.values.messages();
    // The node would number them from 1, over existing values.
    if !args.replace && values.iter().any(|value| value.index == 0) {
        return Err(Failure::usage("say which value to write, as in --value 2:NAME=Gearbox, or give --replace"));
    }
    let nothing = values.is_empty()
        && args.removed.is_empty()
        && args.added_edges.is_empty()
        && args.removed_edges.is_empty()
        && !args.replace;
    if nothing {
        return Err(Failure::usage("nothing to change; give --value, --remove, --add-edge or --remove-edge"));
    }
    let mode = if args.replace { Mode::Replace } else { Mode::Merge };
    Ok(pb::Update {
        mode: mode.into(),
        values,
        remove_indexes: args.removed.clone(),
        add_edges: args.added_edges.clone(),
        remove_edges: args.removed_edges.clone(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn read(line: &str) -> Result<pb::Update, String> {
        let line = Line::try_parse_from(line.split(' ')).map_err(|error| error.kind().to_string())?;
        update(&line.args).map_err(|failure| failure.message.unwrap_or_default())
    }

    #[test]
    fn what_is_sent() {
        let update = read("update 88.1/a --value 2:N=x --remove 3 --remove-edge replaces=88.1/b").unwrap();
        assert_eq!((update.mode(), update.values[0].index, &update.remove_indexes), (Mode::Merge, 2, &vec![3]));
        assert_eq!(update.remove_edges[0].to, "88.1/b");
        assert_eq!(read("update 88.1/a --replace --value N=x").unwrap().mode(), Mode::Replace);
        assert_eq!(read("update 88.1/a --replace").unwrap(), pb::Update { mode: 1, ..pb::Update::default() });
    }

    #[test]
    fn what_is_refused() {
        let table = [
            ("update 88.1/a", "nothing to change"),
            ("update 88.1/a --value N=x", "say which value to write"),
            ("update 88.1/a --replace --remove 1", "an argument cannot be used with one or more"),
        ];
        for (line, expected) in table {
            let error = read(line).unwrap_err();
            assert!(error.starts_with(expected), "{line}: {error}");
        }
    }
}

//! `touchmark name`: the canonical form, key and DNS name of an identifier.

use data_encoding::{BASE32_DNSSEC, HEXLOWER};
use serde::Serialize;

use super::{
    failure::Failure,
    output::{Out, clean},
};
use crate::{
    client::dns::{name_in_zone, zone_labels, zone_octets},
    config::{self, Config},
    id::{
        Identifier, ParseError, WrittenForm,
        dns_name::{self, NameTarget},
    },
    protocol::outcome::Outcome,
};

/// Shows the canonical form, key and DNS name of identifiers; needs no node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark name 88.1000.LSN/GB120-3169
  touchmark name '(01)09521141101209(21)TW120-0401' '{iso(1) identified-organization(3) 6}'
  touchmark name --reverse gb120-3169._.lsn.1000.88.hdl.id.test.")]
pub struct Args {
    /// Identifiers, in any written form
    #[arg(required = true, value_name = "ID")]
    identifiers: Vec<String>,
    /// Take DNS names instead, and show their identifiers
    #[arg(long)]
    reverse: bool,
    /// The zone of the DNS names
    #[arg(long, default_value_t = Config::default().zone, value_parser = config::zone)]
    zone: String,
    /// Print one JSON object for each identifier
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct IdentifierForms {
    identifier: String,
    scheme: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<&'static str>,
    /// The key, in hexadecimal.
    key: String,
    dns_name: String,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`]; malformed identifiers are no failures, and show in the exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let mut out = Out::stdout();
    let mut exit = 0;
    for (place, text) in args.identifiers.iter().enumerate() {
        match forms(text, args) {
            Ok(forms) if args.json => {
                out.line(serde_json::to_string(&forms).unwrap_or_default())?;
            }
            Ok(forms) => {
                if place > 0 {
                    out.line("")?;
                }
                print(&mut out, &forms)?;
            }
            Err(reason) => {
                exit = Outcome::Invalid.spelling().exit;
                out.flush()?;
                eprintln!("invalid: {}", clean(&reason));
            }
        }
    }
    out.flush()?;
    Ok(exit)
}

fn print(out: &mut Out, forms: &IdentifierForms) -> Result<(), Failure> {
    let IdentifierForms { identifier, scheme, written, key, dns_name } = forms;
    out.line(format_args!("identifier  {}", clean(identifier)))?;
    out.line(format_args!("scheme      {scheme}"))?;
    if let Some(written) = written {
        out.line(format_args!("written as  {written}"))?;
    }
    out.line(format_args!("key         {key}"))?;
    out.line(format_args!("DNS name    {dns_name}"))
}

fn forms(text: &str, args: &Args) -> Result<IdentifierForms, String> {
    let (identifier, written) = if args.reverse {
        (reverse(text, &args.zone)?, None)
    } else {
        let parsed = Identifier::parse_written(text);
        let (identifier, written) = parsed.map_err(|error: ParseError| error.to_string())?;
        (identifier, Some(words(written)))
    };
    Ok(IdentifierForms {
        scheme: identifier.scheme().as_str(),
        written,
        key: HEXLOWER.encode(identifier.key().as_bytes()),
        dns_name: name_in_zone(&identifier, &args.zone),
        identifier: identifier.to_string(),
    })
}

/// The identifier of a DNS name.
fn reverse(name: &str, zone: &str) -> Result<Identifier, String> {
    let shown = crate::id::excerpt(name);
    let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let zone_name: Vec<&str> = zone_labels(zone).collect();
    let labels: Vec<&str> = lower.split('.').collect();
    let relative = labels.len().checked_sub(zone_name.len()).map(|end| labels.split_at(end));
    let relative = match relative {
        Some((relative, end)) if end == zone_name => relative,
        _ => return Err(format!("`{shown}` does not lie in the zone {zone}")),
    };
    let relative: Vec<&[u8]> = relative.iter().map(|label| label.as_bytes()).collect();
    let meaning = dns_name::parse(&relative, zone_octets(zone));
    match meaning.as_ref().map(|meaning| meaning.target.clone()) {
        Some(Some(NameTarget::Identifier(identifier))) => Ok(identifier),
        Some(Some(NameTarget::Hash(hash))) => Err(format!(
            "`{shown}` stands for an identifier by its hash {}; only a node that has it registered knows which one",
            BASE32_DNSSEC.encode(&hash)
        )),
        Some(None) => Err(format!("`{shown}` is the name of no identifier, only of what lies above some")),
        None => Err(format!("`{shown}` can be the name of no identifier")),
    }
}

fn words(written: WrittenForm) -> &'static str {
    match written {
        WrittenForm::Handle => "Handle",
        WrittenForm::HandleUri => "hdl: URI",
        WrittenForm::OidDotted => "dotted OID",
        WrittenForm::OidUrn => "urn:oid",
        WrittenForm::OidIri => "OID-IRI",
        WrittenForm::OidAsn1 => "ASN.1 value notation",
        WrittenForm::Gs1DigitalLink => "GS1 Digital Link",
        WrittenForm::Gs1ElementString => "GS1 element string",
        WrittenForm::Gs1EpcUrn => "EPC URN",
        WrittenForm::Uri => "URI",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, reverse: bool) -> Result<String, String> {
        let args = Args { identifiers: Vec::new(), reverse, zone: "id.test.".into(), json: false };
        let IdentifierForms { identifier, scheme, written, dns_name, .. } = forms(text, &args)?;
        Ok(format!("{identifier} {scheme} {} {dns_name}", written.unwrap_or("-")))
    }

    #[test]
    fn both_ways() {
        let table = [
            ("hdl:88.118.8/JXDY2106023", "88.118.8/JXDY2106023 handle hdl: URI jxdy2106023._.8.118.88.hdl.id.test."),
            ("1.3.6.1.4.1.9", "urn:oid:1.3.6.1.4.1.9 oid dotted OID 9.1.4.1.6.3.1.oid.id.test."),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text, false).as_deref(), Ok(expected));
        }
        let name = "JXDY2106023._.8.118.88.hdl.ID.test";
        assert_eq!(
            shown(name, true).as_deref(),
            Ok("88.118.8/jxdy2106023 handle - jxdy2106023._.8.118.88.hdl.id.test.")
        );
    }

    #[test]
    fn names_of_nothing() {
        let hash = BASE32_DNSSEC.encode(&[7; 20]);
        let table = [
            ("a.example.", "`a.example.` does not lie in the zone id.test."),
            ("test.", "`test.` does not lie in the zone id.test."),
            ("id.test.", "`id.test.` is the name of no identifier, only of what lies above some"),
            ("x.nothing.id.test.", "`x.nothing.id.test.` can be the name of no identifier"),
            (&format!("{hash}.h.id.test."), "stands for an identifier by its hash"),
        ];
        for (name, expected) in table {
            let error = shown(name, true).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}

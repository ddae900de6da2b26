//! GS1 Digital Link URIs (GS1 Digital Link: URI Syntax 1.4), uncompressed.
//!
//! Any domain and any stem may carry a Digital Link, so a URL is read as one only if its path ends in pairs of AI and
//! value, down from a primary key whose value is well-formed; from there on every broken rule is an error. Any other
//! URL is a plain URI, except on id.gs1.org, where every URL is a Digital Link. The path is split before it is decoded.

use super::{Ai, Element, QUALIFIERS_MAX, Qualifiers, build, percent_decoded};
use crate::id::{Identifier, Refusal};

/// The domain on which every URI is a Digital Link.
const OFFICIAL_DOMAIN: &str = "id.gs1.org";

/// Reads the text behind `https://` of a URL whose characters have been checked; `None` if it is no Digital Link.
pub(in crate::id) fn from_url(url: &str) -> Result<Option<Identifier>, Refusal> {
    let (authority, rest) = split_before(url, &['/', '?', '#']);
    let (path, query) = split_before(rest, &['?', '#']);
    match read_path(path, authority.len())? {
        Some((primary, qualifiers)) => {
            refuse_qualifiers_in_query(query, authority.len() + path.len(), primary.ai)?;
            build(&primary, &qualifiers).map(Some)
        }
        None if is_official(authority) => Err(explain(path, authority.len())),
        None => Ok(None),
    }
}

/// Reads the pairs of AI and value at the end of a path, back to the right-most primary key.
fn read_path(path: &str, start: usize) -> Result<Option<(Element, Qualifiers)>, Refusal> {
    // From the right: the stem on the left may be anything.
    let mut rest = path.strip_suffix('/').unwrap_or(path);
    let mut pending: [Option<(&'static Ai, &str, usize)>; QUALIFIERS_MAX] = [None; QUALIFIERS_MAX];
    for count in 0..=QUALIFIERS_MAX {
        let Some((before, value)) = rest.rsplit_once('/') else { return Ok(None) };
        let Some((before, digits)) = before.rsplit_once('/') else { return Ok(None) };
        let Some(ai) = Ai::find(digits) else { return Ok(None) };
        let position = start + rest.len() - value.len();
        if ai.is_key() {
            let Ok(primary) = Element::new(ai, percent_decoded(value, position), position) else { return Ok(None) };
            let mut qualifiers: Qualifiers = [None; QUALIFIERS_MAX];
            for (place, (ai, value, position)) in qualifiers.iter_mut().zip(pending[..count].iter().rev().flatten()) {
                *place = Some(Element::new(ai, percent_decoded(value, *position), *position)?);
            }
            return Ok(Some((primary, qualifiers)));
        }
        let Some(place) = pending.get_mut(count) else { return Ok(None) };
        *place = Some((ai, value, position));
        rest = before;
    }
    Ok(None)
}

/// Refuses a query that names a qualifier, which belongs in the path; other parameters describe and are dropped.
fn refuse_qualifiers_in_query(query: &str, start: usize, primary: &Ai) -> Result<(), Refusal> {
    let (query, _fragment) = split_before(query, &['#']);
    let mut position = start + 1;
    for pair in query.strip_prefix('?').unwrap_or_default().split(['&', ';']) {
        let (name, _) = split_before(pair, &['=']);
        for qualifier in primary.sequences().iter().flat_map(|sequence| sequence.iter()) {
            if percent_decoded(name, position).flatten().eq(qualifier.bytes()) {
                let rule = format!("qualifier {qualifier} stands in the path of a Digital Link, not in its query");
                return Err(Refusal::new(position, rule));
            }
        }
        position += pair.len() + 1;
    }
    Ok(())
}

/// True for id.gs1.org in any case, with any user and port.
fn is_official(authority: &str) -> bool {
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let (host, _port) = split_before(host, &[':']);
    host.eq_ignore_ascii_case(OFFICIAL_DOMAIN)
}

/// The refusal of a path on id.gs1.org that is no Digital Link.
fn explain(path: &str, start: usize) -> Refusal {
    let mut position = start + 1;
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').map(|segment| {
        let at = position;
        position += segment.len() + 1;
        (segment, at)
    });
    let Some(ai) = segments.by_ref().find_map(|(segment, _)| Ai::find(segment).filter(|ai| ai.is_key())) else {
        return Refusal::new(start, "a Digital Link has a GS1 key in its path, such as /01/<14 digits>");
    };
    let Some((value, at)) = segments.next() else {
        return Refusal::new(start + path.len(), format!("AI {} ({}) has no value", ai.digits, ai.title));
    };
    if let Err(refusal) = Element::new(ai, percent_decoded(value, at), at) {
        return refusal;
    }
    while let Some((digits, at)) = segments.next() {
        match Ai::find(digits) {
            Some(found) if !found.is_key() && segments.next().is_some_and(|(value, _)| !value.is_empty()) => {}
            Some(found) if !found.is_key() => {
                return Refusal::new(at, format!("AI {digits} ({}) has no value", found.title));
            }
            _ => return Refusal::new(at, format!("after a key come qualifiers with their values, not `{digits}`")),
        }
    }
    Refusal::new(start, format!("a Digital Link has at most {QUALIFIERS_MAX} qualifiers"))
}

/// Splits a text before the first of `characters`.
fn split_before<'a>(text: &'a str, characters: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(characters).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use crate::id::{
        Identifier, WrittenForm,
        gs1::tests::{check, check_refused},
    };

    fn check_link(text: &str, canonical: &str) {
        check(text, WrittenForm::Gs1DigitalLink, canonical);
    }

    fn check_plain(text: &str) {
        let (identifier, form) = Identifier::parse_written(text).unwrap();
        assert_eq!((form, identifier.as_str()), (WrittenForm::Uri, text));
    }

    #[test]
    fn links() {
        let gtin = "/01/09506000134352";
        check_link("https://id.gs1.org/01/09506000134352", gtin);
        check_link("HTTP://ID.GS1.ORG:80/01/09506000134352/", gtin);
        check_link("https://maker.example/a/b/01/9506000134352?17=251231;linkType=all&01=1#x", gtin);
        check_link("https://maker.example/01/12345670", "/01/00000012345670");
        check_link("https://u@maker.example/01/614141999996", "/01/00614141999996");
        check_link(
            "https://m.example/01/09506000134352/22/v/10/L%2f1/21/a%21b",
            "/01/09506000134352/22/v/10/L%2F1/21/a%21b",
        );
        check_link("https://m.example/01/09506000134352/21/a!b(c)", "/01/09506000134352/21/a%21b%28c%29");
        check_link("https://m.example/01/09506000134352/21/%41", "/01/09506000134352/21/A");
        check_link("https://m.example/01/09506000134352/10/8004/21/00", "/01/09506000134352/10/8004/21/00");
        check_link("https://m.example/01/09506000134352/00/095201234567891235", "/00/095201234567891235");
        check_link("https://m.example/01/09506000134352/235/T", "/01/09506000134352/235/T");
        check_link("https://m.example/414/9521141123454/254/5678", "/414/9521141123454/254/5678");
        check_link("https://m.example/414/9521141123454/7040/1ABC", "/414/9521141123454/7040/1ABC");
        check_link("https://m.example/415/9521141123454/8020/R1", "/415/9521141123454/8020/R1");
        check_link("https://m.example/417/9521141123454", "/417/9521141123454");
        check_link("https://m.example/8003/0952114112345432a%2Fb", "/8003/0952114112345432a%2Fb");
        check_link("https://m.example/8006/095211411234540102/21/981", "/8006/095211411234540102/21/981");
        check_link("https://m.example/8010/95211415PQ7%2FZ43/8011/12345", "/8010/95211415PQ7%2FZ43/8011/12345");
        check_link("https://m.example/8013/1987654Ad4X4bL5ttr2310c2K", "/8013/1987654Ad4X4bL5ttr2310c2K");
        check_link("https://m.example/8018/952114112345678906/8019/3", "/8018/952114112345678906/8019/3");
        check_link("https://m.example/00/095201234567891235?10=lot", "/00/095201234567891235");
    }

    #[test]
    fn plain_uris() {
        check_plain("https://maker.example/01/123");
        check_plain("https://maker.example/01/09506000134352/reviews");
        check_plain("https://maker.example/01/09506000134352/17/251231");
        check_plain("https://maker.example/01/09506000134352/21/");
        check_plain("https://maker.example//01//09506000134352");
        check_plain("https://maker.example/01%2F09506000134352");
        check_plain("https://maker.example/%30%31/09506000134352");
        check_plain("https://maker.example/401/hello");
        check_plain("https://maker.example/?01=09506000134352");
        check_plain("https://maker.example#/01/09506000134352");
        check_plain("https://maker.example/21/a/10/b/22/c/235/d/254/e");
        check_plain("https://id.gs1.org.example/x");
    }

    #[test]
    fn refused() {
        check_refused("https://m.example/01/09506000134351", 21, "wrong check digit");
        check_refused("https://m.example/01/12345671", 21, "wrong check digit");
        check_refused(
            "https://m.example/01/09506000134352/21/a/10/b",
            44,
            "qualifier 10 comes after 21; their order is 22, 10, 21",
        );
        check_refused("https://m.example/01/09506000134352/10/a/10/b", 44, "AI 10 is given twice");
        check_refused("https://m.example/01/09506000134352/10/a/235/b", 45, "AI 235 does not go together with AI 10");
        check_refused(
            "https://m.example/00/095201234567891235/21/a",
            43,
            "AI 21 (serial number) does not qualify AI 00 (SSCC)",
        );
        check_refused("https://m.example/414/9521141123454/254/a/7040/1ABC", 47, "does not go together with AI 254");
        check_refused("https://m.example/415/9521141123454", 22, "needs AI 8020");
        check_refused(
            "https://m.example/01/09506000134352/21/123456789012345678901",
            39,
            "has 1 to 20 characters; this one has 21",
        );
        check_refused("https://m.example/01/09506000134352/21/%23", 39, "CSET 82");
        check_refused("https://m.example/01/09506000134352/21/%2", 39, "two hexadecimal digits");
        check_refused("https://m.example/01/09506000134352?x=1&21=7", 40, "qualifier 21 stands in the path");
        check_refused("https://m.example/01/09506000134352?%32%31=7", 36, "qualifier 21 stands in the path");
        check_refused("https://id.gs1.org/", 18, "has a GS1 key in its path");
        check_refused("https://id.gs1.org", 18, "has a GS1 key in its path");
        check_refused("https://x@id.gs1.org:443/17/251231", 24, "has a GS1 key in its path");
        check_refused("https://id.gs1.org/01", 21, "AI 01 (GTIN) has no value");
        check_refused("https://id.gs1.org/01/123", 22, "has 14 (or 8, 12, 13) characters; this one has 3");
        check_refused("https://id.gs1.org/01/09506000134352/17/251231", 37, "not `17`");
        check_refused("https://id.gs1.org/01/09506000134352/21", 37, "AI 21 (serial number) has no value");
        check_refused("https://id.gs1.org/01/09506000134352/21/", 37, "AI 21 (serial number) has no value");
        check_refused("https://id.gs1.org/01/09506000134352/22/a/10/b/21/c/21/d", 18, "at most 3 qualifiers");
        check_refused(
            &format!("https://id.gs1.org{}", "/01".repeat(1_000_000)),
            0,
            "at most 2048 bytes; this one has 3000018",
        );
    }
}

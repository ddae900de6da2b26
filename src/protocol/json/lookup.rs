//! Lookups in the verifiable index, in the JSON of VIndex, which is Go's encoding of its structs: `[]byte` is Base64,
//! an array of 32 bytes is 32 numbers.
//!
//! ```json
//! {"output_log_cp":"…","output_log_leaf":"…","output_log_proof":[[17,…],…],"index_value":[4,711],"index_proof":"…"}
//! ```

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::object::Object;
use crate::{
    tlog::Hash,
    vindex::{LOOKUP_INDICES_MAX, Lookup},
};

/// Maximum length of a document that is read, in bytes: [`LOOKUP_INDICES_MAX`] indices and the proofs.
pub const LOOKUP_BYTES_MAX: usize = 32 * LOOKUP_INDICES_MAX;

#[derive(Deserialize, Serialize)]
struct Document {
    output_log_cp: String,
    output_log_leaf: String,
    // Go writes an empty list as null.
    #[serde(default)]
    output_log_proof: Option<Vec<[u8; 32]>>,
    #[serde(default)]
    index_value: Option<Vec<u64>>,
    #[serde(default)]
    index_proof: Option<String>,
}

/// A lookup as one line of JSON.
pub fn lookup_to_json(lookup: &Lookup) -> String {
    let document = Document {
        output_log_cp: BASE64.encode(lookup.checkpoint.as_bytes()),
        output_log_leaf: BASE64.encode(&lookup.leaf),
        output_log_proof: Some(lookup.leaf_path.iter().map(|hash| hash.0).collect()),
        index_value: Some(lookup.indices.clone()),
        index_proof: Some(BASE64.encode(&lookup.proof)),
    };
    // Texts, numbers and lists of them always have a JSON form.
    serde_json::to_string(&document).unwrap_or_default()
}

/// Reads a lookup.
///
/// # Errors
///
/// A sentence with the error in the document.
pub fn lookup_from_json(json: &[u8]) -> Result<Lookup, String> {
    if json.len() > LOOKUP_BYTES_MAX {
        return Err(format!("the document has {} bytes; the limit is {LOOKUP_BYTES_MAX}", json.len()));
    }
    let Object(document): Object<Document> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let bytes = |field: &str, text: &str| {
        BASE64.decode(text.as_bytes()).map_err(|error| format!("`{field}` is not Base64: {error}"))
    };
    let checkpoint = String::from_utf8(bytes("output_log_cp", &document.output_log_cp)?);
    let checkpoint = checkpoint.map_err(|_| "`output_log_cp` is not UTF-8".to_owned())?;
    Ok(Lookup {
        indices: document.index_value.unwrap_or_default(),
        proof: bytes("index_proof", &document.index_proof.unwrap_or_default())?,
        leaf: bytes("output_log_leaf", &document.output_log_leaf)?.into(),
        leaf_path: document.output_log_proof.unwrap_or_default().into_iter().map(Hash).collect(),
        checkpoint: checkpoint.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_writes_it() {
        let lookup = Lookup {
            indices: vec![4, 711],
            proof: vec![0, 255],
            leaf: b"leaf"[..].into(),
            leaf_path: [Hash([7; 32])].into(),
            checkpoint: "note\n".into(),
        };
        let json = lookup_to_json(&lookup);
        let sevens = ["7"; 32].join(",");
        let expected = format!(
            "{{\"output_log_cp\":\"bm90ZQo=\",\"output_log_leaf\":\"bGVhZg==\",\"output_log_proof\":[[{sevens}]],\
             \"index_value\":[4,711],\"index_proof\":\"AP8=\"}}"
        );
        assert_eq!(json, expected);
        assert_eq!(lookup_from_json(json.as_bytes()), Ok(lookup));
        let go = b"{\"output_log_cp\":\"\",\"output_log_leaf\":\"\",\"output_log_proof\":null,\"index_value\":null,\"index_proof\":\"\"}";
        assert!(lookup_from_json(go).is_ok_and(|lookup| lookup.indices.is_empty() && lookup.leaf_path.is_empty()));
        let refused =
            [expected.replace("AP8=", "AP8"), expected.replacen("7,7", "7", 1), expected.replace("711", "-1")];
        for wrong in refused {
            assert!(lookup_from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

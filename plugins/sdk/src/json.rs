//! JSON in: the error names the field that is wrong.

use serde::de::DeserializeOwned;

/// A JSON document is not what was expected.
///
/// The source says why; for people, [`describe`](crate::describe) gives both.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The document is no JSON, or its outermost value is of the wrong kind.
    #[error("the document is not valid")]
    Document(#[source] serde_json::Error),

    /// The document is not an object.
    #[error("the document is not an object")]
    NotAnObject,

    /// A field is absent, of the wrong kind or out of range.
    #[error("field `{path}` is not valid")]
    Field {
        /// Where it is: `items[2].count`.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// Decodes a whole document.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    // The first attempt does not keep track of the path, which costs: nearly
    // every document is valid.
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut decoder).map_err(|error| {
        let path = error.path().to_string();
        let source = error.into_inner();
        // A dot is how the path of the document itself is written.
        if path == "." || source.is_syntax() || source.is_eof() {
            JsonError::Document(source)
        } else {
            JsonError::Field { path, source }
        }
    })?;
    decoder.end().map_err(JsonError::Document)?;
    Ok(value)
}

/// Decodes a whole document that is an object. Without this, an array would
/// pass for a struct: its elements for the fields, in the order of the source.
pub(crate) fn decode_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    // What has no first byte is no JSON, and `decode` says so.
    if first.is_some_and(|byte| *byte != b'{') {
        return Err(JsonError::NotAnObject);
    }
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Item {
        count: u8,
    }

    #[test]
    fn the_error_names_the_field() {
        let error = decode::<Vec<Item>>(br#"[{"count":1},{"count":256}]"#).unwrap_err();
        assert_eq!(error.to_string(), "field `[1].count` is not valid");
        assert!(crate::describe(&error).contains("256"));
    }

    #[test]
    fn what_is_no_json_is_an_error_of_the_document() {
        for bad in [
            &b""[..],
            b"{",
            b"[1] 2",
            b"\xff",
            b"nope",
            b"{\"count\":NaN}",
        ] {
            let error = decode::<Item>(bad).unwrap_err();
            assert!(
                matches!(error, JsonError::Document(_)),
                "{bad:?}: {error:?}"
            );
        }
    }

    #[test]
    fn an_array_is_no_object() {
        assert_eq!(decode::<Item>(b"[1]").unwrap(), Item { count: 1 });
        assert!(matches!(
            decode_object::<Item>(b"[1]"),
            Err(JsonError::NotAnObject)
        ));
        assert_eq!(
            decode_object::<Item>(b" \n{\"count\":1} ").unwrap(),
            Item { count: 1 }
        );
        assert!(matches!(
            decode_object::<Item>(b" "),
            Err(JsonError::Document(_))
        ));
    }

    #[test]
    fn a_field_given_twice_is_refused() {
        assert!(decode::<Item>(br#"{"count":1,"count":2}"#).is_err());
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_stack_overflow() {
        let deep = "[".repeat(100_000);
        assert!(decode::<serde_json::Value>(deep.as_bytes()).is_err());
    }
}

//! The query part of a request's target.

/// The first value of a parameter, decoded; none if it is absent.
///
/// `+` is a space, `%41` is a byte. What is not valid after decoding is given
/// with replacement characters, so it matches nothing that is stored.
pub(crate) fn value(path_with_query: &str, name: &str) -> Option<String> {
    let (_, query) = path_with_query.split_once('?')?;
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name || decode(key) == name)
        .map(|(_, value)| decode(value))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => *first,
        });
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_and_decoded() {
        let path = "/orders?page_token=a%2Fb+c&user_id=7&flag";
        assert_eq!(value(path, "page_token").as_deref(), Some("a/b c"));
        assert_eq!(value(path, "user_id").as_deref(), Some("7"));
        assert_eq!(value(path, "flag").as_deref(), Some(""));
        assert_eq!(value(path, "user"), None);
        assert_eq!(value("/orders", "user_id"), None);
    }

    #[test]
    fn what_cannot_be_decoded_does_not_panic() {
        for (text, decoded) in [
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(value(&format!("/?a={text}"), "a").as_deref(), Some(decoded));
        }
    }
}

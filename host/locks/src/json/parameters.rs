//! What is asked for by a query.

use crate::failure::Failure;
use crate::percent;
use http::HeaderMap;
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use std::str::FromStr;

/// Says where a broken stream of events is to go on.
const LAST_EVENT_ID: &str = "last-event-id";

/// Reads a query that may have these parameters, each once.
fn read<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
) -> Result<[Option<String>; N], Failure> {
    let mut values = [const { None }; N];
    for parameter in percent::parameters(query) {
        let (name, value) = parameter?;
        let Some(at) = names.iter().position(|it| *it == name) else {
            return Err(refused(format!("there is no parameter `{name}` here")));
        };
        if values[at].replace(value).is_some() {
            return Err(refused(format!("the parameter `{name}` is there twice")));
        }
    }
    Ok(values)
}

/// No parameters.
pub(super) fn none(query: Option<&str>) -> Result<(), Failure> {
    read(query, []).map(|[]| ())
}

/// Those of `LockService.List`.
pub(super) fn list(query: Option<&str>) -> Result<proto::ListRequest, Failure> {
    let [prefix, size, token] = read(query, ["prefix", "pageSize", "pageToken"])?;
    Ok(proto::ListRequest {
        prefix: prefix.unwrap_or_default(),
        page_size: number(size, "pageSize", Reason::InvalidPage)?,
        page_token: token.unwrap_or_default(),
    })
}

/// Those of `LockService.Watch`, where a browser that comes back says so in a
/// header.
pub(super) fn watch(
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<proto::WatchRequest, Failure> {
    let [prefix, from] = read(query, ["prefix", "fromRevision"])?;
    let last = headers.get(LAST_EVENT_ID).map(|it| {
        let text = it.to_str().unwrap_or("?").to_owned();
        number(Some(text), "Last-Event-ID", Reason::InvalidRequest)
    });
    Ok(proto::WatchRequest {
        prefix: prefix.unwrap_or_default(),
        from_revision: match last {
            Some(last) => last?,
            None => number(from, "fromRevision", Reason::InvalidRequest)?,
        },
    })
}

fn number<T: FromStr + Default>(
    text: Option<String>,
    field: &'static str,
    reason: Reason,
) -> Result<T, Failure> {
    let Some(text) = text else {
        return Ok(T::default());
    };
    // A number has no sign here.
    let digits = text.bytes().all(|it| it.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| Failure::field(reason, field, "is no number that is allowed"))
}

fn refused(why: String) -> Failure {
    Failure::new(Reason::InvalidRequest, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_not_known_or_come_twice_are_refused() {
        let request = list(Some("prefix=a%2Fb&pageSize=7&pageToken=x+y")).unwrap();
        assert_eq!(request.prefix, "a/b");
        assert_eq!(request.page_size, 7);
        assert_eq!(request.page_token, "x y");
        for wrong in ["page_size=7", "prefix=a&prefix=a", "x", "prefix=%ff"] {
            let failure = list(Some(wrong)).unwrap_err();
            assert_eq!(failure.reason, Reason::InvalidRequest, "{wrong}");
        }
        assert!(none(None).is_ok());
        assert!(none(Some("a=1")).is_err());
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        for wrong in ["-1", "+1", "", "1.0", "4294967296", "0x1"] {
            let query = format!("pageSize={wrong}");
            let failure = list(Some(&query)).unwrap_err();
            assert_eq!(failure.reason, Reason::InvalidPage, "{wrong}");
        }
    }

    #[test]
    fn the_last_event_goes_before_the_revision_of_the_address() {
        let mut headers = HeaderMap::new();
        let query = Some("fromRevision=5");
        assert_eq!(watch(query, &headers).unwrap().from_revision, 5);
        headers.insert(LAST_EVENT_ID, 9.into());
        assert_eq!(watch(query, &headers).unwrap().from_revision, 9);
    }
}

//! Ids that are made up where they are needed, and never twice.

/// An id that nobody else has: 128 random bits, as 32 hexadecimal digits. It
/// names a request: to ask for the same thing again, or to find it in a log.
pub fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::random_id;

    #[test]
    fn an_id_is_32_digits_and_another_each_time() {
        let id = random_id();
        assert_eq!(id.len(), 32, "{id}");
        assert!(id.bytes().all(|it| it.is_ascii_hexdigit()), "{id}");
        assert_ne!(id, random_id());
    }
}

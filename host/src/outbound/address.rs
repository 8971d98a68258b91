//! Which addresses a component may be connected to.
//!
//! Most of what a machine can reach is not meant for components: its own
//! services, its neighbours, and the address at which a cloud tells secrets to
//! whoever asks. So an address is open to all only if it is an ordinary one of
//! the internet, and everything else has to be said in the manifest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What has to be granted for an address to be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// The internet: any grant will do.
    Global,
    /// This machine and its neighbours: loopback, private, shared and
    /// unique-local addresses. The address itself, or a name with `private`.
    Private,
    /// Addresses with a meaning of their own: link-local, of documentation and
    /// of measurements, reserved, and where clouds tell secrets. Only the
    /// address itself.
    Special,
    /// No address of anybody, or a second spelling of another: unspecified,
    /// multicast, broadcast, and IPv6 addresses with IPv4 inside. Never.
    Never,
}

/// Where clouds tell secrets to whoever asks, as far as these addresses are not
/// link-local.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// What has to be granted for `address`.
pub(super) fn reach(address: IpAddr) -> Reach {
    if METADATA.contains(&address) {
        return Reach::Special;
    }
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    if address.is_multicast() || address.is_broadcast() {
        return Reach::Never;
    }
    match address.octets() {
        [0, ..] => Reach::Never,
        [10, ..] | [127, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private,
        // Shared by the customers of a carrier.
        [100, 64..=127, ..] => Reach::Private,
        [169, 254, ..] => Reach::Special,
        // Of protocols, of documentation, of 6to4 relays.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
            Reach::Special
        }
        // Of measurements, and reserved.
        [198, 18..=19, ..] | [240..=255, ..] => Reach::Special,
        _ => Reach::Global,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private,
        // Unspecified, and IPv4 inside: compatible, mapped, translated.
        [0, 0, 0, 0, 0, 0, ..]
        | [0, 0, 0, 0, 0, 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, ..] => Reach::Never,
        // IPv4 inside, once more: 6to4 and Teredo.
        [0x2002, ..] | [0x2001, 0, ..] => Reach::Never,
        // ISATAP puts IPv4 behind any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => Reach::Never,
        [0xff00..=0xffff, ..] => Reach::Never,
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // Link-local, and site-local as it was once.
        [0xfe80..=0xfeff, ..] => Reach::Special,
        // Of protocols and of documentation.
        [0x2001, 0x0001..=0x01ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Special,
        // Only this eighth was ever given out.
        [0x2000..=0x3fff, ..] => Reach::Global,
        _ => Reach::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn all(addresses: &[&str], expected: Reach) {
        for address in addresses {
            assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn the_internet_is_open() {
        all(
            &[
                "1.1.1.1",
                "8.8.8.8",
                "100.63.255.255",
                "100.128.0.0",
                "172.15.0.1",
                "172.32.0.1",
                "223.255.255.255",
                "2606:4700:4700::1111",
                "2a00:1450:4001:80b::200e",
            ],
            Reach::Global,
        );
    }

    #[test]
    fn this_machine_and_its_neighbours_are_private() {
        all(
            &[
                "127.0.0.1",
                "127.255.255.254",
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "100.64.0.1",
                "::1",
                "fc00::1",
                "fd12:3456::1",
            ],
            Reach::Private,
        );
    }

    #[test]
    fn addresses_with_a_meaning_of_their_own_are_special() {
        all(
            &[
                "169.254.169.254",
                "169.254.0.1",
                "100.100.100.200",
                "192.0.0.192",
                "fd00:ec2::254",
                "fe80::1",
                "fec0::1",
                "192.0.2.1",
                "198.18.0.1",
                "203.0.113.9",
                "240.0.0.1",
                "2001:db8::1",
                "100::1",
                "4000::1",
            ],
            Reach::Special,
        );
    }

    #[test]
    fn nobody_s_addresses_and_ipv4_in_ipv6_are_never_connected() {
        all(
            &[
                "0.0.0.0",
                "0.1.2.3",
                "224.0.0.1",
                "255.255.255.255",
                "::",
                "ff02::1",
                "::ffff:127.0.0.1",
                "::ffff:8.8.8.8",
                "::127.0.0.1",
                "::ffff:0:127.0.0.1",
                "64:ff9b::7f00:1",
                "64:ff9b:1::a00:1",
                "2002:7f00:1::",
                "2001:0:7f00:1::",
                "2a00::5efe:127.0.0.1",
                "fe80::200:5efe:10.0.0.1",
            ],
            Reach::Never,
        );
    }
}

//! The classes of addresses that are not public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of IPv4 that are not public, with what they are.
const V4_CLASSES: [(Ipv4Addr, u32, &str); 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of this host"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 100, 100, 200), 32, "an address of metadata"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "an address of a carrier (CGNAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "an address of metadata"),
    (Ipv4Addr::new(169, 254, 169, 254), 32, "an address of metadata"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a reserved address"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "an address of documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address of benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "an address of documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "an address of documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "a broadcast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

/// Networks of IPv6 that are not public, with what they are. Of a network within another one, the smaller
/// is first.
const V6_CLASSES: [(Ipv6Addr, u32, &str); 19] = [
    (Ipv6Addr::UNSPECIFIED, 128, "an address of this host"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "an IPv4 address in IPv6 (v4-mapped)"),
    (Ipv6Addr::UNSPECIFIED, 96, "an IPv4 address in IPv6 (v4-compatible)"),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "a NAT64 address"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "a NAT64 address"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "a reserved address"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "a Teredo address"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "an address of documentation"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a reserved address"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a 6to4 address"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "an address of documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "a reserved address"),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, "an address of metadata"),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, "an address of metadata"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "a private address"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "a link-local address"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "a site-local address"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "a multicast address"),
];

/// What makes an address one that is not public; `None`: it is public. Outside the range of unicast of IPv6
/// nothing is public.
pub(super) fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let is_in = |network: Ipv4Addr, prefix: u32| {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
            };
            V4_CLASSES
                .iter()
                .find(|(network, prefix, _)| is_in(*network, *prefix))
                .map(|(_, _, class)| *class)
        }
        IpAddr::V6(address) => {
            let is_in = |network: Ipv6Addr, prefix: u32| {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
            };
            let class = V6_CLASSES.iter().find(|(network, prefix, _)| is_in(*network, *prefix));
            let is_unicast = is_in(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
            class.map(|(_, _, class)| *class).or((!is_unicast).then_some("a reserved address"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(address: &str) -> Option<&'static str> {
        not_public(address.parse().unwrap())
    }

    #[test]
    fn addresses_that_are_not_public_have_a_class() {
        for (address, expected) in [
            ("0.0.0.0", "an address of this host"),
            ("0.1.2.3", "an address of this host"),
            ("10.0.0.1", "a private address"),
            ("100.64.0.1", "an address of a carrier (CGNAT)"),
            ("100.127.255.255", "an address of a carrier (CGNAT)"),
            ("100.100.100.200", "an address of metadata"),
            ("127.0.0.1", "a loopback address"),
            ("127.255.255.254", "a loopback address"),
            ("168.63.129.16", "an address of metadata"),
            ("169.254.169.254", "an address of metadata"),
            ("169.254.1.1", "a link-local address"),
            ("172.16.0.1", "a private address"),
            ("172.31.255.255", "a private address"),
            ("192.0.0.8", "a reserved address"),
            ("192.0.2.1", "an address of documentation"),
            ("192.88.99.1", "a 6to4 address"),
            ("192.168.1.1", "a private address"),
            ("198.18.0.1", "an address of benchmarks"),
            ("198.19.255.255", "an address of benchmarks"),
            ("198.51.100.1", "an address of documentation"),
            ("203.0.113.9", "an address of documentation"),
            ("224.0.0.1", "a multicast address"),
            ("239.255.255.255", "a multicast address"),
            ("240.0.0.1", "a reserved address"),
            ("255.255.255.255", "a broadcast address"),
            ("::", "an address of this host"),
            ("::1", "a loopback address"),
            ("::ffff:127.0.0.1", "an IPv4 address in IPv6 (v4-mapped)"),
            ("::ffff:8.8.8.8", "an IPv4 address in IPv6 (v4-mapped)"),
            ("::127.0.0.1", "an IPv4 address in IPv6 (v4-compatible)"),
            ("::ffff:0:127.0.0.1", "a reserved address"),
            ("64:ff9b::7f00:1", "a NAT64 address"),
            ("64:ff9b:1::1", "a NAT64 address"),
            ("100::1", "a reserved address"),
            ("2001::1", "a Teredo address"),
            ("2001:2::1", "a reserved address"),
            ("2001:10::1", "a reserved address"),
            ("2001:db8::1", "an address of documentation"),
            ("2002:7f00:1::", "a 6to4 address"),
            ("3fff:1::1", "an address of documentation"),
            ("5f00::1", "a reserved address"),
            ("fc00::1", "a private address"),
            ("fd00:ec2::254", "an address of metadata"),
            ("fd20:ce::254", "an address of metadata"),
            ("fd12:3456::1", "a private address"),
            ("fe80::1", "a link-local address"),
            ("febf::1", "a link-local address"),
            ("fec0::1", "a site-local address"),
            ("ff02::1", "a multicast address"),
            ("4000::1", "a reserved address"),
            ("9999::1", "a reserved address"),
        ] {
            assert_eq!(class(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn public_addresses_have_none() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "168.63.129.15",
            "169.253.1.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
            "2001:200::1",
        ] {
            assert_eq!(class(address), None, "{address}");
        }
    }
}

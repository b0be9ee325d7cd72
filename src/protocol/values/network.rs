//! Networks of addresses, as `10.0.0.0/8`. Pure.

use std::net::IpAddr;

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Understands `10.0.0.0/8`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        (bits <= bits_max).then_some(Self { address, bits })
    }

    /// Whether `address` is one of them. An IPv4 address inside an IPv6 one counts as itself.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        for (network, address, is_held) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "fd12::1", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.holds(address.parse().unwrap()), is_held, "{network:?} {address}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "x", "10.0.0.0/-1", "10.0.0/8"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_network_holds_its_own_address(bits in 0u8..=32, address in any::<u32>()) {
            let address = std::net::Ipv4Addr::from_bits(address);
            let network = Network::parse(&format!("{address}/{bits}")).unwrap();
            prop_assert!(network.holds(address.into()));
            let last = std::net::Ipv4Addr::from_bits(address.to_bits() ^ 1);
            prop_assert_eq!(network.holds(last.into()), bits < 32);
        }
    }
}

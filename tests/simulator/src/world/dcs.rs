//! Where the datacenters of the world are.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// Home of everybody who is not put elsewhere.
pub(crate) const HOME_DC: i32 = 2;
/// What a client is told while there is only one: that it is all of them.
const EVERY_DC: std::ops::RangeInclusive<i32> = 1..=5;

/// Addresses by datacenter; the home one is always there.
pub(crate) struct Dcs(BTreeMap<i32, SocketAddrV4>);

impl Dcs {
    pub(crate) fn new(home: SocketAddrV4, others: &[(i32, SocketAddrV4)]) -> Self {
        Self(others.iter().copied().chain([(HOME_DC, home)]).collect())
    }

    /// The address of a datacenter, if it has one of its own.
    pub(crate) fn address(&self, dc: i32) -> Option<SocketAddrV4> {
        self.0.get(&dc).copied()
    }

    /// What `help.getConfig` names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (i32, SocketAddrV4)> {
        let home = self.0[&HOME_DC];
        let alone = (self.0.len() == 1).then(|| EVERY_DC.map(move |dc| (dc, home)));
        let several = alone.is_none().then(|| self.0.iter().map(|(dc, address)| (*dc, *address)));
        alone.into_iter().flatten().chain(several.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_datacenter_is_all_of_them_and_several_are_themselves() {
        let at = |port| SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
        let lone = Dcs::new(at(1), &[]);
        assert_eq!(
            lone.all().collect::<Vec<_>>(),
            (1..=5).map(|dc| (dc, at(1))).collect::<Vec<_>>()
        );
        assert_eq!((lone.address(2), lone.address(4)), (Some(at(1)), None));
        let several = Dcs::new(at(1), &[(4, at(4))]);
        assert_eq!(several.all().collect::<Vec<_>>(), [(2, at(1)), (4, at(4))]);
    }
}

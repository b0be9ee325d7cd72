//! Who can be talked to, and how the outside numbers them.

/// Distance between a channel's bare id and its marked one.
const CHANNEL_MARK: i64 = 1_000_000_000_000;

/// A user, a basic group, or a channel (supergroups are channels), by bare id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Peer {
    User(i64),
    Group(i64),
    Channel(i64),
}

impl Peer {
    /// One number for all kinds, as bots and most libraries write it: groups negative, channels
    /// below -1000000000000.
    pub(crate) fn marked(self) -> i64 {
        match self {
            Self::User(id) => id,
            Self::Group(id) => -id,
            Self::Channel(id) => -CHANNEL_MARK - id,
        }
    }

    /// Reads a marked id; `None` for zero.
    pub(crate) fn from_marked(marked: i64) -> Option<Self> {
        match marked {
            0 => None,
            1.. => Some(Self::User(marked)),
            _ if marked < -CHANNEL_MARK => Some(Self::Channel(-CHANNEL_MARK - marked)),
            _ => Some(Self::Group(-marked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marking_goes_both_ways() {
        for (peer, marked) in [
            (Peer::User(7_000_000_001), 7_000_000_001),
            (Peer::Group(4_000_001), -4_000_001),
            (Peer::Channel(2_100_000_001), -1_002_100_000_001),
        ] {
            assert_eq!(peer.marked(), marked);
            assert_eq!(Peer::from_marked(marked), Some(peer));
        }
        assert_eq!(Peer::from_marked(0), None);
    }
}
